import type { Command, CommanderError } from "commander";
import { MusterError } from "../errors.ts";

/** Whether errors are to be JSON, before the command line is understood; what follows `--` is the engine's. */
export function wantsJson(args: readonly string[]): boolean {
  const end = args.indexOf("--");
  return args.slice(0, end < 0 ? undefined : end).includes("--json");
}

/** What commander says of wrong usage, as an error like all others. */
export function usageError({ code, message }: CommanderError, program: Command, args: readonly string[]): MusterError {
  const command = [program.name(), ...namesIn(program, args)].join(" ");
  // It shows the help then, and has no words of its own.
  const text = code === "commander.help" ? `\`${command}\` needs a command.` : message.replace(/^error: /, "");
  return new MusterError("USAGE", text, { hint: `\`${command} --help\` shows how it is used.` });
}

/** Of the commands that the arguments begin with. */
function namesIn(parent: Command, [name, ...more]: readonly string[]): string[] {
  const found = parent.commands.find((command) => command.name() === name);
  return found ? [found.name(), ...namesIn(found, more)] : [];
}
