import { createInterface } from "node:readline/promises";
import { MusterError } from "../errors.ts";

/**
 * Asks before something is destroyed. True without a question where --yes was given; where nobody can be asked, --yes is
 * required (USAGE), and nothing was `done`.
 */
export async function confirm(
  question: string,
  { yes = false, done = "removed" }: { yes?: boolean; done?: string },
): Promise<boolean> {
  if (yes) return true;
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new MusterError("USAGE", `Nothing was ${done}: without a terminal nobody can be asked.`, {
      hint: "Look at it with `--dry-run`, then add `--yes`.",
    });
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const closed = new Promise<string>((resolve) => terminal.once("close", () => resolve("")));
    return /^y(es)?$/i.test((await Promise.race([terminal.question(`${question} [y/N] `), closed])).trim());
  } finally {
    terminal.close();
  }
}
