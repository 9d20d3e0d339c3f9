import type * as z from "zod";
import type { MusterError } from "../../errors.ts";
import { jobError } from "../../job.ts";
import { MAX_INPUT_DEPTH } from "../../protocol.ts";

/** The input of a job is not what its kind takes; `field` as the sender would write it: messages.0.content. */
export function invalidInput(field: string, problem: string): MusterError {
  return jobError("INVALID_INPUT", `${field}: ${problem}`, "Correct this field of the job's input and send it again.");
}

export function tooLarge(field: string, problem: string): MusterError {
  return jobError("PAYLOAD_TOO_LARGE", `${field}: ${problem}`, "Send less at once, in several jobs.");
}

/** The value in the schema's form, or INVALID_INPUT for the first thing that is wrong with it. No value is repeated. */
export function check<T>(schema: z.ZodType<T>, value: unknown, at = ""): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const field = [...(at ? [at] : []), ...(issue?.path ?? [])].join(".") || "input";
  throw invalidInput(field, issue?.message.replace(/^Invalid input: /, "") ?? "is not valid");
}

/** Throws PAYLOAD_TOO_LARGE or, for what is nested without end, INVALID_INPUT. Before anything else looks at the input. */
export function checkSize(input: unknown, maxBytes: number): void {
  let left = maxBytes;
  const spend = (bytes: number) => {
    left -= bytes;
    if (left < 0) throw tooLarge("input", `is larger than ${Math.floor(maxBytes / 2 ** 20)} MiB`);
  };
  const visit = (value: unknown, depth: number) => {
    if (typeof value === "string") return spend(value.length);
    spend(8);
    if (typeof value !== "object" || value === null) return;
    if (depth === MAX_INPUT_DEPTH) throw invalidInput("input", `is nested deeper than ${MAX_INPUT_DEPTH} levels`);
    if (Array.isArray(value)) for (const item of value) visit(item, depth + 1);
    else {
      for (const [key, item] of Object.entries(value)) {
        spend(key.length);
        visit(item, depth + 1);
      }
    }
  };
  visit(input, 0);
}
