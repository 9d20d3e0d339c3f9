import { type CompletedCommand, type CompletedOption, flatten, type Suggestion } from "./command-tree.ts";

/** A script for zsh, to be sourced or put into a folder of fpath as `_muster`. */
export function zshCompletion(program: CompletedCommand): string {
  return `#compdef muster
# zsh completion of muster: source <(muster completion zsh)
_muster_list_models() {
  local -a found
  found=(\${(f)"$(muster completion models 2>/dev/null)"})
  compadd "$@" -a found
}
_muster_list_names() {
  local -a found
  found=(\${(f)"$(muster completion names 2>/dev/null)"})
  compadd "$@" -a found
}
${flatten(program).map(functionOf).join("\n")}
compdef _muster muster
`;
}

function functionOf({ path, options, argument, commands }: CompletedCommand): string {
  const name = nameOf(path);
  const specs = options.map(specOf);
  if (commands.length === 0) {
    const rest = actionOf(argument);
    const all = [...specs, ...(rest === null ? [] : [quote(`*:argument:${rest}`)])];
    return `${name}() {\n  _arguments -s ${all.join(" \\\n    ")}\n}`;
  }
  const known = commands.map((command) => quote(`${command.path.at(-1)}:${command.description}`));
  const cases = commands.map((command) => `        ${command.path.at(-1)}) ${nameOf(command.path)} ;;`);
  return `${name}() {
  local curcontext=$curcontext state line
  local -a commands
  _arguments -C ${[...specs, "'1: :->command'", "'*:: :->rest'"].join(" \\\n    ")}
  case $state in
    command)
      commands=(${known.join("\n        ")})
      _describe command commands
      ;;
    rest)
      case $line[1] in
${cases.join("\n")}
      esac
      ;;
  esac
}`;
}

function nameOf(path: readonly string[]): string {
  return ["_muster", ...path].join("_").replaceAll("-", "_");
}

function specOf({ flags, description, value }: CompletedOption): string {
  const text = `[${description.replace(/[[\]\\]/g, "\\$&")}]`;
  const action = value && `:value:${actionOf(value) ?? " "}`;
  // Several times, because some may be given so.
  return flags.map((flag) => quote(`*${flag}${text}${action ?? ""}`)).join(" ");
}

function actionOf(value: Suggestion): string | null {
  if (value.kind === "words") return `(${value.words.join(" ")})`;
  if (value.kind === "list") return `_muster_list_${value.list}`;
  return value.kind === "files" ? "_files" : null;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
