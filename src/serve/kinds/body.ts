import * as z from "zod";
import { check, invalidInput } from "./check.ts";

/** What requests of every kind have in common. */

/**
 * Fields in which some engine takes media that it would fetch, open or unpickle by itself, or the names of other hosts.
 * Images have one way in, where their bytes are looked at.
 */
const REFUSED = ["images", "image_data", "multi_modal_data", "prompt_embeds", "kv_transfer_params"];

const fields = z.looseObject({
  max_tokens: z.int().positive().nullish(),
  max_completion_tokens: z.int().positive().nullish(),
  temperature: z.number().nonnegative().nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  n: z.int().positive().max(16).nullish(),
  seed: z.int().nullish(),
});

/** The body as a plain object. The model and whether it is streamed are the job's to say, not the body's. */
export function readBody(input: unknown, otherwiseRefused: string[] = []): Record<string, unknown> {
  const { model: _model, stream: _stream, stream_options: _options, ...body } = check(fields, input);
  checkRefused(body, { at: "", refused: [...REFUSED, ...otherwiseRefused] });
  return body;
}

export function checkRefused(
  body: Record<string, unknown>,
  { at, refused = REFUSED }: { at: string; refused?: string[] },
): void {
  const found = refused.find((field) => Object.hasOwn(body, field));
  if (found) throw invalidInput(`${at}${found}`, "is not taken by this worker");
}

/** Texts or tokens, the four ways of the OpenAI API. Looked at by hand: a schema would list a problem for each token. */
export function isTextsOrTokens(value: unknown): value is string | string[] | number[] | number[][] {
  if (typeof value === "string") return true;
  const isToken = (item: unknown) => Number.isSafeInteger(item) && (item as number) >= 0;
  const isList = (list: unknown, each: (item: unknown) => boolean) =>
    Array.isArray(list) && list.length > 0 && list.every(each);
  return (
    isList(value, (item) => typeof item === "string") ||
    isList(value, isToken) ||
    isList(value, (item) => isList(item, isToken))
  );
}

export const TEXTS_OR_TOKENS = "must be a text, a list of texts, a list of tokens or a list of such lists; none empty";
