import * as z from "zod";
import { MusterError } from "../../errors.ts";
import type { Engine as EngineKind } from "../../model.ts";
import { asksForUsage, type Chunk, chunkSchema, deliver } from "./answer.ts";
import { embeddingAnswer } from "./embedding-answer.ts";
import type { ChatBody, CompletionBody, Engine, EngineAnswer, EngineCall, EngineModel, EngineRuns } from "./engine.ts";
import { brokenOff, engineRefusal, notTheApi, parseAnswer } from "./engine-error.ts";
import { type EngineHttp, engineHttp } from "./engine-http.ts";
import { pieceLimit, wholeText } from "./lines.ts";
import { openAiEmbeddings } from "./openai-embeddings.ts";
import { openAiHealth } from "./openai-health.ts";
import { type ServerSentEvent, serverSentEvents } from "./server-sent-events.ts";
import { unlessBusy } from "./unless-busy.ts";

export interface OpenAiOptions {
  kind: Exclude<EngineKind, "ollama">;
  /** With or without /v1. */
  url: string;
  apiKey: string | null;
}

/** vLLM, llama.cpp, TEI, LocalAI: whatever speaks OpenAI's API. Bodies go through as they are, under the engine's name. */
export function openAiEngine({ kind, url, apiKey }: OpenAiOptions): Engine {
  const http = engineHttp(kind, url, apiKey);

  const stream = async (path: string, { kind, model, body, call }: Streamed): Promise<EngineAnswer> => {
    const stream_options = { ...(body.stream_options as object | null), include_usage: true };
    const answer = await http.send(path, {
      body: JSON.stringify({ ...body, model: model.name, stream: true, stream_options }),
      signal: call.signal,
    });
    const chunks = chunksOf(serverSentEvents(answer, pieceLimit(call)), http);
    return deliver(chunks, { kind, model, call, showUsage: asksForUsage(body) });
  };

  const runs: EngineRuns = {
    chat: (model, body, call) => stream("/v1/chat/completions", { kind: "chat", model, body, call }),
    completion: (model, body, call) => stream("/v1/completions", { kind: "completion", model, body, call }),
    async embedding(model, body, call) {
      const job = { model, body, call };
      return embeddingAnswer(await openAiEmbeddings(http, job), job);
    },
  };

  return {
    kind,
    url: http.url,
    run: (kind, model, body, call) => runs[kind](model, body, call),
    warmUp: (model, signal) => unlessBusy(signal, () => load(http, model, signal)),
    probe: (signal) => openAiHealth(http, signal),
  };
}

interface Streamed {
  kind: "chat" | "completion";
  model: EngineModel;
  body: ChatBody | CompletionBody;
  call: EngineCall;
}

/** The chunks up to `[DONE]`; where none comes, the answer is whole if every choice has said why it ended. */
async function* chunksOf(events: AsyncIterable<ServerSentEvent>, engine: EngineHttp): AsyncGenerator<Chunk> {
  const unfinished = new Set<number>([0]);
  for await (const { event, data } of events) {
    if (data === "[DONE]") return;
    const json = parseAnswer(data, engine);
    const failure = failureStatus(event, json);
    if (failure !== null) throw engineRefusal(engine, failure, data);
    const chunk = chunkSchema.safeParse(json);
    if (!chunk.success) throw notTheApi(engine);
    for (const { index, finish_reason } of chunk.data.choices) {
      if (finish_reason) unfinished.delete(index);
      else unfinished.add(index);
    }
    yield { ...chunk.data, choices: chunk.data.choices.map(withReasoning) };
  }
  if (unfinished.size > 0) throw brokenOff(engine);
}

/** What newer versions of vLLM call `reasoning`, everybody else calls `reasoning_content`. */
function withReasoning(choice: Chunk["choices"][number]): Chunk["choices"][number] {
  if (typeof choice.delta?.reasoning !== "string") return choice;
  const { reasoning, ...rest } = choice.delta;
  return { ...choice, delta: { reasoning_content: reasoning, ...rest } };
}

const code = z.unknown().optional();
const streamedError = z.union([
  z.object({ error: z.union([z.string().transform(() => ({ code: undefined })), z.object({ code })]) }),
  z.object({ object: z.literal("error"), code }).transform(({ code }) => ({ error: { code } })),
]);

/** The status of an error in the middle of a stream, as far as it tells; null for what is none. */
function failureStatus(event: string, json: unknown): number | null {
  const said = streamedError.safeParse(json);
  if (!said.success) return event === "error" ? 500 : null;
  const status = Number(said.data.error.code);
  return status >= 400 && status < 600 ? status : 500;
}

const WARM_UP_BYTES = 4 * 1024 * 1024;

async function load(http: EngineHttp, model: EngineModel, signal: AbortSignal): Promise<void> {
  const task = smallest(model);
  if (!task) return;
  try {
    await wholeText(await http.send(task.path, { body: JSON.stringify(task.body), signal }), WARM_UP_BYTES);
  } catch (error) {
    // Who finds fault with the request (no image for a model of images) has the model.
    if (!(error instanceof MusterError && error.code === "INVALID_INPUT")) throw error;
  }
}

/** Null where no job asks the model for anything. */
function smallest({ task, name }: EngineModel): { path: string; body: object } | null {
  switch (task) {
    case "chat":
    case "vision":
    case "ocr":
      return {
        path: "/v1/chat/completions",
        body: { model: name, messages: [{ role: "user", content: "Hi" }], max_tokens: 1 },
      };
    case "completion":
      return { path: "/v1/completions", body: { model: name, prompt: "Hi", max_tokens: 1 } };
    case "embedding":
      return { path: "/v1/embeddings", body: { model: name, input: "Hi" } };
    case "rerank":
      return null;
  }
}
