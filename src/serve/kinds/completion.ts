import type { CompletionBody } from "../engines/engine.ts";
import { isTextsOrTokens, readBody, TEXTS_OR_TOKENS } from "./body.ts";
import { invalidInput } from "./check.ts";

/** An OpenAI completions request, or INVALID_INPUT. */
export function readCompletion(input: unknown): CompletionBody {
  const { prompt, ...body } = readBody(input, ["messages"]);
  if (!isTextsOrTokens(prompt)) throw invalidInput("prompt", TEXTS_OR_TOKENS);
  return { ...body, prompt };
}
