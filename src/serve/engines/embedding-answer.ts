import type { EmbeddingBody, EngineAnswer, EngineCall, EngineModel } from "./engine.ts";
import { answerTooLarge } from "./lines.ts";

export interface EmbeddingJob {
  model: EngineModel;
  body: EmbeddingBody;
  call: EngineCall;
}

/** Numbers as text take this much more than the same as base64. */
const TEXT_PER_BASE64 = 4;

function wantsBase64({ encoding_format }: EmbeddingBody): boolean {
  return encoding_format === "base64";
}

/** Bytes that an engine's answer may have so that what is made of it can be within its bounds. */
export function rawLimit({ body, call }: EmbeddingJob): number {
  return wantsBase64(body) ? TEXT_PER_BASE64 * call.maxOutputBytes : call.maxOutputBytes;
}

export interface Embeddings {
  /** Numbers, or base64 of little-endian 32-bit floats. */
  vectors: (number[] | string)[];
  promptTokens: number;
}

/** The list of embeddings in the OpenAI form and in the encoding that was asked for. */
export function embeddingAnswer(
  { vectors, promptTokens }: Embeddings,
  { model, body, call }: EmbeddingJob,
): EngineAnswer {
  const encode: (vector: number[] | string) => number[] | string = wantsBase64(body) ? toBase64 : toNumbers;
  const encoded = vectors.map(encode);
  const bytes = encoded.reduce((sum, each) => sum + (typeof each === "string" ? each : JSON.stringify(each)).length, 0);
  if (bytes > call.maxOutputBytes) throw answerTooLarge();
  const usage = { prompt_tokens: promptTokens, total_tokens: promptTokens };
  const data = encoded.map((embedding, index) => ({ object: "embedding", index, embedding }));
  return { output: { object: "list", data, model: model.id, usage }, usage };
}

function toBase64(vector: number[] | string): string {
  if (typeof vector === "string") return vector;
  const bytes = Buffer.alloc(4 * vector.length);
  vector.forEach((value, index) => {
    bytes.writeFloatLE(value, 4 * index);
  });
  return bytes.toString("base64");
}

function toNumbers(vector: number[] | string): number[] {
  if (typeof vector !== "string") return vector;
  const bytes = Buffer.from(vector, "base64");
  return Array.from({ length: Math.floor(bytes.length / 4) }, (_, index) => bytes.readFloatLE(4 * index));
}
