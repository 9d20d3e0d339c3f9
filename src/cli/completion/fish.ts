import { type CompletedCommand, type CompletedOption, flatten, type Suggestion } from "./command-tree.ts";

/** A script for fish. */
export function fishCompletion(program: CompletedCommand): string {
  const all = flatten(program);
  const known = all.filter(({ path }) => path.length > 0).map(({ path }) => quote(path.join(" ")));
  return `# fish completion of muster: muster completion fish | source
function __muster_at --description 'Whether the words so far name this command of muster'
    set -l at
    set -l words (commandline -opc)
    for word in $words[2..-1]
        set -l longer (string trim -- "$at $word")
        contains -- $longer ${known.join(" ")}; and set at $longer
    end
    test "$at" = "$argv"
end
complete -c muster -f
${all.flatMap(linesOf).join("\n")}
`;
}

function linesOf({ path, options, argument, commands }: CompletedCommand): string[] {
  const start = `complete -c muster -n ${quote(`__muster_at ${path.join(" ")}`)}`;
  return [
    ...commands.map((command) => `${start} -a ${command.path.at(-1)} -d ${quote(command.description)}`),
    ...options.map((option) => `${start} ${optionOf(option)}`),
    ...(commands.length === 0 && argument.kind !== "nothing" ? [`${start} ${suggested(argument)}`] : []),
  ];
}

function optionOf({ flags, description, value }: CompletedOption): string {
  const names = flags.map((flag) => (flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
  const takes = value === null ? [] : value.kind === "nothing" ? ["-x"] : ["-r", suggested(value)];
  return [...names, ...takes, `-d ${quote(description)}`].join(" ");
}

function suggested(value: Suggestion): string {
  if (value.kind === "words") return `-a ${quote(value.words.join(" "))}`;
  if (value.kind === "list") return `-a ${quote(`(muster completion ${value.list} 2>/dev/null)`)}`;
  return "-F";
}

function quote(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
