import * as z from "zod";
import type { JobKind } from "../../../model.ts";

/** The bodies of OpenAI's API as far as the gateway looks at them; workers look at the rest, engines take what they know. */

const common = {
  model: z.string().min(1).meta({ description: "Id of a model, or its name at its source" }),
  stream: z.boolean().nullish().meta({ description: "Answer by server-sent events" }),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
};
const text = z.union([z.string(), z.array(z.unknown()).min(1)]);

export const chatRequest = z
  .looseObject({
    ...common,
    messages: z.array(z.looseObject({ role: z.string() })).min(1),
    tools: z.array(z.looseObject({})).nullish(),
    tool_choice: z.union([z.string(), z.looseObject({})]).nullish(),
    response_format: z.looseObject({ type: z.string() }).nullish(),
    max_tokens: z.int().nullish(),
    temperature: z.number().nullish(),
  })
  .meta({ title: "ChatRequest", description: "As POST /v1/chat/completions of OpenAI's API. Images as data: URIs." });

export const completionRequest = z
  .looseObject({ ...common, prompt: text, max_tokens: z.int().nullish(), temperature: z.number().nullish() })
  .meta({ title: "CompletionRequest", description: "As POST /v1/completions of OpenAI's API." });

export const embeddingRequest = z
  .looseObject({
    model: common.model,
    input: text,
    encoding_format: z.enum(["float", "base64"]).nullish(),
    dimensions: z.int().nullish(),
  })
  .meta({ title: "EmbeddingRequest", description: "As POST /v1/embeddings of OpenAI's API." });

export const ocrRequest = z
  .object({
    ...common,
    image: z.string().nullish().meta({ description: "Base64, or a data: URI; this or `pages`" }),
    pages: z.array(z.string()).nullish(),
    prompt: z.string().nullish().meta({ description: "In place of the usual one" }),
    format: z.enum(["text", "markdown", "json"]).nullish(),
    schema: z.looseObject({}).nullish().meta({ description: "JSON Schema of a page's answer; with format json" }),
  })
  .meta({ title: "OcrRequest", description: "Reads the text of images." });

export interface OpenAiRequest {
  model: string;
  stream?: boolean | null;
  stream_options?: { include_usage?: boolean | null } | null;
  [field: string]: unknown;
}

export const REQUESTS: Record<JobKind, z.ZodType<OpenAiRequest>> = {
  chat: chatRequest,
  completion: completionRequest,
  embedding: embeddingRequest,
  ocr: ocrRequest,
};
