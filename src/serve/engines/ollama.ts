import type { AbortableAsyncIterator, ChatRequest, GenerateRequest, Ollama } from "ollama";
import * as z from "zod";
import { jobError } from "../../job.ts";
import { asksForUsage, deliver } from "./answer.ts";
import { embeddingAnswer, rawLimit } from "./embedding-answer.ts";
import type { Engine, EngineModel, EngineRuns } from "./engine.ts";
import { notTheApi } from "./engine-error.ts";
import { type EngineHttp, engineHttp } from "./engine-http.ts";
import { createAdapter } from "./ollama-adapter.ts";
import { chatChunks, completionChunks } from "./ollama-chunks.ts";
import { ollamaClient } from "./ollama-client.ts";
import { KEEP_ALIVE } from "./ollama-environment.ts";
import { chatRequest, generateRequest, loadOptions, textsOf } from "./ollama-request.ts";
import { unlessBusy } from "./unless-busy.ts";

const embedAnswer = z.object({ embeddings: z.array(z.array(z.number())), prompt_eval_count: z.number().nullish() });
const versionAnswer = z.object({ version: z.string() });
const WARM_UP_BYTES = 1024 * 1024;

/** An Ollama server, asked in its own API: OpenAI's has neither num_ctx nor keep_alive there. */
export function ollamaEngine(url: string): Engine {
  const http = engineHttp("ollama", url);
  const runs: EngineRuns = {
    async chat(model, body, call) {
      const request = chatRequest(model, body);
      const client = ollamaClient(http, call);
      if (request.messages.some(({ images }) => images)) await requireVision(client, model);
      const events = streamed(() => client.chat(request as ChatRequest & { stream: true }));
      return deliver(chatChunks(events, http), { kind: "chat", model, call, showUsage: asksForUsage(body) });
    },
    async completion(model, body, call) {
      const client = ollamaClient(http, call);
      const answers = textsOf(body.prompt, "prompt").map((prompt) => {
        const request = generateRequest(model, body, prompt);
        return streamed(() => client.generate(request as GenerateRequest & { stream: true }));
      });
      const chunks = completionChunks(answers, http);
      return deliver(chunks, { kind: "completion", model, call, showUsage: asksForUsage(body) });
    },
    async embedding(model, body, call) {
      const job = { model, body, call };
      const client = ollamaClient(http, { signal: call.signal, maxOutputBytes: rawLimit(job) });
      const input = textsOf(body.input, "input");
      const answer = embedAnswer.safeParse(
        await client.embed({
          ...loadRequest(model),
          input,
          truncate: body.truncate === true,
          ...(typeof body.dimensions === "number" ? { dimensions: body.dimensions } : {}),
        }),
      );
      if (!answer.success || answer.data.embeddings.length !== input.length) throw notTheApi(http);
      const { embeddings, prompt_eval_count } = answer.data;
      return embeddingAnswer({ vectors: embeddings, promptTokens: prompt_eval_count ?? 0 }, job);
    },
  };
  return {
    kind: "ollama",
    url: http.url,
    run: (kind, model, body, call) => runs[kind](model, body, call),
    async warmUp(model, signal) {
      if (model.adapter) await createAdapter(http, model.name, { ...model.adapter, signal });
      await unlessBusy(signal, () => load(http, model, signal));
    },
    async unload({ name }, signal) {
      const client = ollamaClient(http, { signal, maxOutputBytes: WARM_UP_BYTES });
      // Of whatever task it is: an empty prompt that is kept for no time is how Ollama stops a model.
      await client.generate({ model: name, prompt: "", keep_alive: 0, stream: false });
    },
    async probe(signal) {
      const answer = await http.ask("/api/version", signal);
      const version = versionAnswer.safeParse(answer?.json).data?.version ?? null;
      return { reachable: answer?.status === 200, version, models: null };
    },
  };
}

const showAnswer = z.object({ capabilities: z.array(z.string()).optional() });

/** Ollama itself gives images to any model, whose runner then fails in its own words. Older servers do not tell. */
async function requireVision(client: Ollama, { id, name }: EngineModel): Promise<void> {
  const { capabilities } = showAnswer.catch({}).parse(await client.show({ model: name }));
  if (!capabilities || capabilities.includes("vision")) return;
  throw jobError(
    "UNSUPPORTED",
    `The model ${id} sees no images.`,
    "Send images to a model of the task vision or ocr; `muster plan` shows the tasks of each.",
  );
}

/** As jobs will use the model: other options would load it anew. */
function loadRequest(model: EngineModel) {
  return { model: model.name, keep_alive: KEEP_ALIVE, options: loadOptions(model) };
}

/** A request without anything to do loads the model, each by the task that it can do. */
async function load(http: EngineHttp, model: EngineModel, signal: AbortSignal): Promise<void> {
  const client = ollamaClient(http, { signal, maxOutputBytes: WARM_UP_BYTES });
  const request = loadRequest(model);
  if (model.task === "embedding") await client.embed({ ...request, input: [] });
  else if (model.task === "completion") await client.generate({ ...request, prompt: "" });
  else if (model.task !== "rerank") await client.chat({ ...request, messages: [] });
}

/** What the client streams; begun when it is read, and ended when it is left, which the client's own loop does not do. */
async function* streamed<T extends object>(start: () => Promise<AbortableAsyncIterator<T>>): AsyncGenerator<T> {
  const events = await start();
  try {
    yield* events;
  } finally {
    events.abort();
  }
}
