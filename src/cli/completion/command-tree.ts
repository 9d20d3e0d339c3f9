import type { Argument, Command, Option } from "commander";

/** What a shell may suggest for a value. */
export type Suggestion =
  | { kind: "words"; words: readonly string[] }
  /** What `muster completion LIST` prints, as things are then. */
  | { kind: "list"; list: "models" | "names" }
  | { kind: "files" }
  | { kind: "nothing" };

export interface CompletedOption {
  /** `--since`, `-f` … */
  flags: string[];
  description: string;
  /** Null where it takes no value. */
  value: Suggestion | null;
}

/** A command of the program, as shells are told of it. */
export interface CompletedCommand {
  /** Words after `muster`; none for the program itself. */
  path: string[];
  description: string;
  options: CompletedOption[];
  /** Of its arguments. */
  argument: Suggestion;
  commands: CompletedCommand[];
}

/** The program's own definition is all that a shell learns: nothing is told twice. */
export function commandTree(command: Command, path: string[] = []): CompletedCommand {
  const help = command.createHelp();
  return {
    path,
    description: command.description(),
    options: help.visibleOptions(command).map(toOption),
    argument: suggest(command.registeredArguments[0]),
    commands: help.visibleCommands(command).map((each) => commandTree(each, [...path, each.name()])),
  };
}

/** The command and all below it. */
export function flatten(command: CompletedCommand): CompletedCommand[] {
  return [command, ...command.commands.flatMap(flatten)];
}

function toOption(option: Option): CompletedOption {
  const { long, short, description, required, optional } = option;
  const flags = [short, long].filter((flag) => flag !== undefined);
  return { flags, description, value: required || optional ? suggestValue(option) : null };
}

function suggestValue({ argChoices, flags }: Option): Suggestion {
  if (argChoices) return { kind: "words", words: argChoices };
  const name = /[<[](.+?)[>\]]/.exec(flags)?.[1] ?? "";
  if (name === "model") return { kind: "list", list: "models" };
  return /file|folder/.test(name) ? { kind: "files" } : { kind: "nothing" };
}

function suggest(argument: Argument | undefined): Suggestion {
  if (argument?.argChoices) return { kind: "words", words: argument.argChoices };
  const name = argument?.name() ?? "";
  if (name === "model" || name === "models") return { kind: "list", list: "models" };
  if (name === "names") return { kind: "list", list: "names" };
  const isText = ["", "prompt", "texts", "command"].includes(name);
  return isText ? { kind: "nothing" } : { kind: "files" };
}
