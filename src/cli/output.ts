import { type MusterError, toMusterError } from "../errors.ts";
import { redact, redactData } from "../redact.ts";

/** Data of a command, for people or as JSON; on standard output. */
export function print(data: unknown, options: { json?: boolean }, text: () => string): void {
  const output = options.json ? JSON.stringify(redactData(data), null, 2) : redact(text());
  process.stdout.write(`${output.trimEnd()}\n`);
}

/** A failure, on standard error: what happened and the next thing to do, or as JSON. */
export function printError(error: unknown, options: { json?: boolean; label?: "error" | "warning" }): MusterError {
  const failure = toMusterError(error);
  if (options.json) process.stderr.write(`${JSON.stringify({ error: failure.toJSON() })}\n`);
  else
    process.stderr.write(
      `${options.label === "warning" ? paint("warning", 33) : paint("error", 31)} ${failure.code}: ${failure.message}\n${paint("hint", 36)} ${failure.hint}\n`,
    );
  if (failure.code === "INTERNAL" && failure.cause instanceof Error)
    process.stderr.write(`${redact(failure.cause.stack ?? "")}\n`);
  return failure;
}

function paint(text: string, color: number): string {
  return process.stderr.isTTY && !process.env.NO_COLOR ? `\u001b[${color}m${text}\u001b[0m` : text;
}

/** Columns as wide as their widest cell; numbers to the right. */
export function table(rows: (string | number)[][]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => String(row[column]).length)));
  const cell = (value: string | number, column: number) =>
    typeof value === "number" ? String(value).padStart(widths[column] ?? 0) : value.padEnd(widths[column] ?? 0);
  return rows.map((row) => row.map(cell).join("  ").trimEnd()).join("\n");
}
