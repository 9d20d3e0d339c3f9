import { runInNewContext } from "node:vm";
import type { ErrorObject } from "ajv";
import { invalidInput } from "./kinds/check.ts";
import type { OcrInput } from "./kinds/ocr.ts";

/** What is wrong with a page's answer, in words for the model; null where it is as the schema has it. */
export type PageCheck = (value: unknown) => string | null;

/** A pattern of the sender's may take for ever on a text, and beats have to go out meanwhile. Of a busy machine's time, not the processor's. */
const CHECK_MS = 1_000;
const TOLD = 5;

/**
 * The check of a job's own schema (JSON Schema: draft 2020-12, or draft-07 where `$schema` names an older one). Throws
 * INVALID_INPUT for a schema that is none. `format` is taken for a remark, as the standard has it.
 */
export async function pageCheck(schema: NonNullable<OcrInput["schema"]>): Promise<PageCheck> {
  const { Ajv } = await import("ajv");
  const { Ajv2020 } = await import("ajv/dist/2020.js");
  const { $schema, ...rest } = schema;
  const options = { strict: false, validateFormats: false, allErrors: true, logger: false } as const;
  const isOld = typeof $schema === "string" && /draft-0\d/.test($schema);
  const compiler = isOld ? new Ajv(options) : new Ajv2020(options);
  const compiled = within(() => compiler.compile(rest));
  if (!compiled.done) throw invalidInput("schema", "is no JSON Schema that can be checked here");
  const validate = compiled.value;
  return (value) => {
    const checked = within(() => validate(value));
    if (!checked.done) return "the schema takes too long to check";
    return checked.value ? null : (validate.errors ?? []).slice(0, TOLD).map(inWords).join("; ");
  };
}

/** Ends the work where it takes too long; a regular expression is ended by nothing else. */
function within<T>(work: () => T): { done: true; value: T } | { done: false } {
  try {
    return { done: true, value: runInNewContext("work()", { work }, { timeout: CHECK_MS }) as T };
  } catch {
    return { done: false };
  }
}

function inWords({ instancePath, message, params }: ErrorObject): string {
  const where = instancePath === "" ? "it" : instancePath.slice(1).replaceAll("/", ".");
  const what = "additionalProperty" in params ? ` (${params.additionalProperty})` : "";
  return `${where} ${message ?? "is not as the schema has it"}${what}`;
}
