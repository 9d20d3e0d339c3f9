import * as z from "zod";
import { MusterError } from "../../errors.ts";
import { type EmbeddingJob, type Embeddings, rawLimit } from "./embedding-answer.ts";
import type { EmbeddingBody } from "./engine.ts";
import { notTheApi, parseAnswer } from "./engine-error.ts";
import type { EngineHttp } from "./engine-http.ts";
import { wholeText } from "./lines.ts";

const embeddingsSchema = z.object({
  data: z.array(z.object({ index: z.number(), embedding: z.union([z.array(z.number()), z.string()]) })),
  usage: z.object({ prompt_tokens: z.number().catch(0) }).nullish(),
});

/** An engine that takes fewer texts at once gets them in halves. */
export function openAiEmbeddings(http: EngineHttp, job: EmbeddingJob): Promise<Embeddings> {
  const { model, body, call } = job;
  let left = rawLimit(job);
  const ask = async (input: EmbeddingBody["input"]): Promise<Embeddings> => {
    try {
      const posted = JSON.stringify({ ...body, input, model: model.name });
      const text = await wholeText(await http.send("/v1/embeddings", { body: posted, signal: call.signal }), left);
      left -= text.length;
      const answer = embeddingsSchema.safeParse(parseAnswer(text, http));
      if (!answer.success) throw notTheApi(http);
      const { usage } = answer.data;
      const data = answer.data.data.toSorted((a, b) => a.index - b.index);
      // One for each text: else vectors would be taken for those of others.
      if (data.length !== countOf(input) || data.some(({ index }, at) => index !== at)) throw notTheApi(http);
      const vectors = data.map(({ embedding }) => embedding);
      return { vectors, promptTokens: usage?.prompt_tokens ?? 0 };
    } catch (error) {
      const halves = error instanceof MusterError && error.details.status === 413 ? halvesOf(input) : null;
      if (!halves) throw error;
      const [first, second] = [await ask(halves[0]), await ask(halves[1])];
      return {
        vectors: [...first.vectors, ...second.vectors],
        promptTokens: first.promptTokens + second.promptTokens,
      };
    }
  };
  return ask(body.input);
}

function countOf(input: EmbeddingBody["input"]): number {
  return typeof input === "string" || typeof input[0] === "number" ? 1 : input.length;
}

/** Null for a single text, as a string or in tokens. */
function halvesOf(input: EmbeddingBody["input"]): [EmbeddingBody["input"], EmbeddingBody["input"]] | null {
  if (typeof input === "string" || countOf(input) < 2) return null;
  const middle = Math.ceil(input.length / 2);
  return [input.slice(0, middle) as string[], input.slice(middle) as string[]];
}
