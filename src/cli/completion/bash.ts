import { type CompletedCommand, flatten, type Suggestion } from "./command-tree.ts";

/** A script for bash, 3.2 and later. */
export function bashCompletion(program: CompletedCommand): string {
  const all = flatten(program);
  const known = all.filter(({ path }) => path.length > 0).map(({ path }) => quote(path.join(" ")));
  const values = all.flatMap(({ path, options }) =>
    options.flatMap(({ flags, value }) =>
      value ? flags.map((flag) => `    ${quote(`${path.join(" ")} ${flag}`)}) ${reply(value)}; return ;;`) : [],
    ),
  );
  const words = all.map(({ path, options, commands }) => {
    const flags = options.flatMap((option) => option.flags).join(" ");
    const names = commands.map((command) => command.path.at(-1)).join(" ");
    return `    ${quote(path.join(" "))}) flags=${quote(flags)}; names=${quote(names)} ;;`;
  });
  const rest = all.map(({ path, argument }) => `    ${quote(path.join(" "))}) ${reply(argument)} ;;`);
  return `# bash completion of muster: source <(muster completion bash)
_muster() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} at="" flags="" names="" word i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${at:+$at }\${COMP_WORDS[i]}"
    case "$word" in
    ${known.join("|")}) at=$word ;;
    esac
  done
  case "$at $prev" in
${values.join("\n")}
  esac
  case "$at" in
${words.join("\n")}
  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$cur"))
    return
  fi
  if [[ -n $names ]]; then
    COMPREPLY=($(compgen -W "$names" -- "$cur"))
    return
  fi
  case "$at" in
${rest.join("\n")}
  esac
}
complete -F _muster muster
`;
}

function reply(value: Suggestion): string {
  if (value.kind === "words") return `COMPREPLY=($(compgen -W ${quote(value.words.join(" "))} -- "$cur"))`;
  if (value.kind === "list")
    return `COMPREPLY=($(compgen -W "$(muster completion ${value.list} 2>/dev/null)" -- "$cur"))`;
  return value.kind === "files" ? 'compopt -o default 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur"))' : ":";
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
