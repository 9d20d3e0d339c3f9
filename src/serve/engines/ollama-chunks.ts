import * as z from "zod";
import type { Chunk } from "./answer.ts";
import { type EngineIdentity, notTheApi } from "./engine-error.ts";

/** Ollama's streams as OpenAI's chunks. */

const logprobs = z.array(z.looseObject({ token: z.string(), logprob: z.number() })).nullish();
const counts = {
  done: z.boolean(),
  done_reason: z.string().nullish(),
  prompt_eval_count: z.number().nullish(),
  eval_count: z.number().nullish(),
  logprobs,
};
const chatEvent = z.object({
  message: z.object({
    content: z.string().nullish(),
    thinking: z.string().nullish(),
    tool_calls: z
      .array(
        z.object({
          id: z.string().nullish(),
          function: z.object({ name: z.string(), arguments: z.record(z.string(), z.unknown()).nullish() }),
        }),
      )
      .nullish(),
  }),
  ...counts,
});
const generateEvent = z.object({ response: z.string().nullish(), ...counts });
type Done = Pick<z.output<typeof generateEvent>, "done_reason" | "prompt_eval_count" | "eval_count">;

/** The chunks of a chat: the role first, then what is said, why it ended, and the usage. */
export async function* chatChunks(events: AsyncIterable<unknown>, engine: EngineIdentity): AsyncGenerator<Chunk> {
  const chunk = chunkMaker("chat.completion.chunk", "chatcmpl");
  let toolCalls = 0;
  let hasBegun = false;
  for await (const each of events) {
    const { message, logprobs, ...end } = checked(chatEvent, each, engine);
    if (!hasBegun) yield chunk([{ index: 0, delta: { role: "assistant", content: "" }, finish_reason: null }]);
    hasBegun = true;
    const calls = (message.tool_calls ?? []).map(({ id, function: { name, arguments: given } }) => ({
      index: toolCalls++,
      id: id || `call_${crypto.randomUUID()}`,
      type: "function",
      function: { name, arguments: JSON.stringify(given ?? {}) },
    }));
    const delta = {
      ...(message.content ? { content: message.content } : {}),
      ...(message.thinking ? { reasoning_content: message.thinking } : {}),
      ...(calls.length > 0 ? { tool_calls: calls } : {}),
    };
    if (Object.keys(delta).length > 0) {
      const probabilities = logprobs ? { logprobs: { content: logprobs } } : {};
      yield chunk([{ index: 0, delta, ...probabilities, finish_reason: null }]);
    }
    if (!end.done) continue;
    yield chunk([{ index: 0, delta: {}, finish_reason: toolCalls > 0 ? "tool_calls" : finishReason(end) }]);
    yield chunk([], usageOf([end]));
  }
}

/** The chunks of one completion a prompt, each under its prompt's index, one after the other. */
export async function* completionChunks(
  answers: Iterable<AsyncIterable<unknown>>,
  engine: EngineIdentity,
): AsyncGenerator<Chunk> {
  const chunk = chunkMaker("text_completion", "cmpl");
  const ends: Done[] = [];
  let index = 0;
  for (const events of answers) {
    for await (const each of events) {
      const { response, ...end } = checked(generateEvent, each, engine);
      if (response) yield chunk([{ index, text: response, finish_reason: null }]);
      if (!end.done) continue;
      ends.push(end);
      yield chunk([{ index, text: "", finish_reason: finishReason(end) }]);
    }
    index += 1;
  }
  yield chunk([], usageOf(ends));
}

function chunkMaker(object: string, prefix: string) {
  const head = { id: `${prefix}-${crypto.randomUUID()}`, object, created: Math.floor(Date.now() / 1000) };
  return (choices: Chunk["choices"], usage?: Record<string, number>): Chunk => ({
    ...head,
    choices,
    ...(usage ? { usage } : {}),
  });
}

function finishReason({ done_reason }: Done): string {
  return done_reason === "length" ? "length" : "stop";
}

/** A prompt that Ollama had in its cache may be counted as none. */
function usageOf(ends: Done[]): Record<string, number> {
  const prompt = ends.reduce((sum, { prompt_eval_count }) => sum + (prompt_eval_count ?? 0), 0);
  const completion = ends.reduce((sum, { eval_count }) => sum + (eval_count ?? 0), 0);
  return { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion };
}

function checked<T>(schema: z.ZodType<T>, event: unknown, engine: EngineIdentity): T {
  const result = schema.safeParse(event);
  if (result.success) return result.data;
  throw notTheApi(engine);
}
