import * as z from "zod";
import type { EmbeddingBody } from "../engines/engine.ts";
import { isTextsOrTokens, readBody, TEXTS_OR_TOKENS } from "./body.ts";
import { check, invalidInput } from "./check.ts";

const fields = z.looseObject({
  encoding_format: z.enum(["float", "base64"]).nullish(),
  dimensions: z.int().positive().nullish(),
});

/** An OpenAI embeddings request, or INVALID_INPUT. */
export function readEmbedding(input: unknown): EmbeddingBody {
  // An embedding of messages would be one of whatever their images' addresses lead to.
  const { input: texts, ...body } = readBody(input, ["messages"]);
  if (!isTextsOrTokens(texts)) throw invalidInput("input", TEXTS_OR_TOKENS);
  return { ...check(fields, body), input: texts };
}
