import { Ollama, type ProgressResponse } from "ollama";
import { Agent, fetch as undiciFetch } from "undici";
import * as z from "zod";
import { MusterError } from "../../errors.ts";
import type { StoredModel, Variant } from "../../model.ts";
import { fullName, parseOllamaName, pinnedDigest } from "../../store/ollama-name.ts";
import { withoutCredentials } from "../../url-credentials.ts";
import { networkError } from "../http-errors.ts";
import { recognizeLicenses } from "../license-text.ts";
import type { ModelCard } from "../model-card.ts";
import type { ModelProgress } from "../model-progress.ts";
import type { ModelServer } from "../model-server.ts";
import { toArchitecture } from "../read-gguf.ts";
import { pullError } from "./ollama-pull-error.ts";
import { StallWatch } from "./stall-watch.ts";

export interface ServerOptions {
  url: string;
  /** Longest silence between two events of a pull. */
  stallTimeoutMs: number;
}

/** The server says nothing at all while it digests what it fetched: minutes for tens of gigabytes on a slow disk. */
const VERIFY_MS = 3_600_000;
/** A server that starts takes connections and answers none of them. */
const ANSWER_MS = 10_000;

const tagsSchema = z.object({
  models: z.array(
    z.object({
      name: z.string(),
      digest: z.string(),
      size: z.number(),
      modified_at: z.string(),
      remote_host: z.string().optional(),
    }),
  ),
});
type Tag = z.output<typeof tagsSchema>["models"][number];
const scalar = z.union([z.number(), z.boolean().transform(Number)]);
const showSchema = z.object({
  license: z.string().catch("").default(""),
  details: z.object({ quantization_level: z.string() }).partial().catch({}).default({}),
  capabilities: z.array(z.string()).catch([]).default([]),
  model_info: z.record(z.string(), z.union([scalar, z.string(), z.array(scalar)]).catch("")),
});

/** An Ollama server that pulls models into its own store. It needs disposing of only with the process. */
export function ollamaServer({ url, stallTimeoutMs }: ServerOptions): ModelServer {
  const { href, headers } = withoutCredentials(url);
  // Whole jobs have no time limits: what is too long is decided here.
  const dispatcher = new Agent({ headersTimeout: 0, bodyTimeout: 0 });
  const answerMs = Math.min(ANSWER_MS, stallTimeoutMs);

  /** A client whose requests end with the signal: its own abort() ends only streams that have begun. */
  const client = (signal: AbortSignal) => {
    const request = async (input: string, init: { signal?: AbortSignal }) => {
      const response = await undiciFetch(input, {
        ...init,
        signal: init.signal ? AbortSignal.any([init.signal, signal]) : signal,
        dispatcher,
      });
      // Here and not in the client, which prints to the console about answers that are no JSON.
      if (!response.ok) throw refusal(await response.text(), response.status, url);
      return response;
    };
    return new Ollama({ host: href, headers, fetch: request as unknown as typeof fetch });
  };

  /** A short question. */
  const ask = async <T>(work: (client: Ollama) => Promise<T>, signal?: AbortSignal): Promise<T> => {
    const patience = AbortSignal.timeout(answerMs);
    try {
      return await work(client(signal ? AbortSignal.any([signal, patience]) : patience));
    } catch (error) {
      signal?.throwIfAborted();
      throw patience.aborted ? down(url, `it answered nothing within ${answerMs / 1000} s`, error) : told(error, url);
    }
  };

  const tags = async (signal?: AbortSignal): Promise<Tag[]> => {
    const answer = tagsSchema.safeParse(await ask((ollama) => ollama.list(), signal));
    if (answer.success) return answer.data.models;
    throw notOllama(url);
  };

  const findTag = async ({ location, revision }: Variant, signal?: AbortSignal): Promise<Tag | null> => {
    const wanted = fullName(location);
    const pinned = pinnedDigest(revision);
    const found = (await tags(signal)).find(({ name }) => isSame(name, wanted));
    if (found?.remote_host) {
      throw new MusterError("SOURCE_UNSUPPORTED", `${location} runs at ${found.remote_host}, not at ${url}.`, {
        hint: "Put a tag that has weights of its own into the catalog, then run `muster sync`.",
      });
    }
    return found && (pinned === null || digestOf(found) === pinned) ? found : null;
  };

  return {
    name: url,
    list: async (signal) => (await tags(signal)).map((tag) => toStored(tag, tag.name, "")),
    async find(variant, signal) {
      const tag = await findTag(variant, signal);
      return tag && toStored(tag, variant.location, variant.revision);
    },
    async describe(variant, signal) {
      const tag = await findTag(variant, signal);
      if (!tag) return null;
      const said = showSchema.safeParse(await ask((ollama) => ollama.show({ model: tag.name }), signal));
      return {
        revision: digestOf(tag),
        files: [],
        weights: { weightsBytes: tag.size, projectorBytes: 0 },
        architecture: said.success ? toArchitecture(new Map(Object.entries(said.data.model_info))) : null,
        manifest: null,
        ...(said.success ? { card: toCard(said.data) } : {}),
      };
    },
    async pull({ location, sizeBytes, revision }, progress, signal) {
      const { scheme } = parseOllamaName(location);
      using watch = new StallWatch(`${url} told nothing about ${location}`);
      const reckon = reckoner(sizeBytes ?? 0, revision, progress);
      let events: Awaited<ReturnType<typeof startPull>> | null = null;
      const startPull = () =>
        client(signal ? AbortSignal.any([signal, watch.signal]) : watch.signal).pull({
          model: location.replace(/^https?:\/\//, ""),
          // To the server this means plain HTTP, whatever it is called.
          insecure: scheme === "http",
          stream: true,
        });
      try {
        watch.expect(stallTimeoutMs);
        events = await startPull();
        for await (const event of events) {
          watch.expect(event.status.startsWith("verifying") ? VERIFY_MS : stallTimeoutMs);
          reckon(event);
        }
      } catch (error) {
        signal?.throwIfAborted();
        watch.signal.throwIfAborted();
        throw told(error, url);
      } finally {
        // Leaving the loop does not end the request.
        events?.abort();
      }
    },
  };
}

function toCard({ license, details, capabilities }: z.output<typeof showSchema>): ModelCard {
  const task = capabilities.includes("embedding") ? "embedding" : capabilities.includes("vision") ? "vision" : "chat";
  return {
    license: recognizeLicenses([license]),
    gated: false,
    task: capabilities.length > 0 ? task : null,
    quantization: details.quantization_level?.toLowerCase() || null,
  };
}

/** Layers come one after the other, and what was fetched of one may turn out to be wrong and be taken back. */
function reckoner(expected: number, revision: string, progress: ModelProgress): (event: ProgressResponse) => void {
  const layers = new Map<string, { total: number; completed: number }>();
  return ({ digest, total, completed = 0 }) => {
    if (!digest || !total) return;
    const before = layers.get(digest);
    layers.set(digest, { total, completed });
    if (before) return progress.onBytes(completed - before.completed);
    const all = [...layers.values()];
    const sum = (of: "total" | "completed") => all.reduce((bytes, layer) => bytes + layer[of], 0);
    progress.onPlan({
      bytes: Math.max(expected, sum("total")),
      presentBytes: sum("completed"),
      files: layers.size,
      revision,
    });
  };
}

function toStored(tag: Tag, location: string, requestedRevision: string): StoredModel {
  return {
    key: `ollama-server--${tag.name}`,
    source: "ollama",
    location,
    requestedRevision,
    revision: digestOf(tag),
    path: tag.name,
    files: [],
    manifest: null,
    bytes: tag.size,
    license: null,
    quantization: null,
    storedAt: tag.modified_at,
  };
}

function digestOf({ digest }: Tag): string {
  return digest.replace(/^sha256:/, "");
}

function isSame(name: string, wanted: string): boolean {
  try {
    return fullName(name) === wanted;
  } catch {
    return false;
  }
}

function refusal(text: string, status: number, url: string): MusterError {
  try {
    return pullError(z.object({ error: z.string() }).parse(JSON.parse(text)).error, status, url);
  } catch {
    return status >= 500 ? pullError(`status ${status}`, status, url) : notOllama(url);
  }
}

function notOllama(url: string): MusterError {
  return new MusterError("RESPONSE_INVALID", `${url} answers, but not as an Ollama server does.`, {
    hint: "Check that OLLAMA_URL is an Ollama server; `muster doctor` tries it.",
  });
}

/** What the client throws: our own errors, those of the connection, and the server's lines of error as bare text. */
function told(error: unknown, url: string): MusterError {
  if (error instanceof MusterError) return error;
  const text = error instanceof Error ? error.message : String(error);
  if (/did not receive done or success/i.test(text)) return down(url, "it ended the answer before the end", error);
  if (error instanceof TypeError) return down(url, networkError(error, url).message, error);
  return pullError(text, null, url);
}

function down(url: string, why: string, cause: unknown): MusterError {
  return new MusterError("ENGINE_DOWN", `The Ollama server at ${url} is not there: ${why}.`, {
    hint: "Start it, or check OLLAMA_URL; `muster doctor` tries it. It is tried again.",
    cause,
  });
}
