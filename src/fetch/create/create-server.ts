import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { Agent, type Dispatcher, request } from "undici";
import * as z from "zod";
import { MusterError, toMusterError } from "../../errors.ts";
import { withoutCredentials } from "../../url-credentials.ts";
import { networkError } from "../http-errors.ts";
import { createError } from "./create-error.ts";
import type { LocalFile } from "./create-files.ts";

/** What the server says while it makes a model. */
export interface CreateEvent {
  status: string;
  /** Of the step, bytes; left out where it does not say. */
  total?: number;
  completed?: number;
}

export interface Creation {
  model: string;
  /** Digests (`sha256:…`) of blobs that the server has, by relative path. */
  files: Record<string, string>;
  quantize: string | null;
}

/** The part of Ollama's API that makes models of files. */
export interface CreateServer extends AsyncDisposable {
  /** For logs and errors. */
  name: string;
  /** What it has under that name: its digest; null for nothing. Throws ENGINE_DOWN. */
  find(
    model: string,
    signal: AbortSignal,
  ): Promise<{ digest: string; size: number; quantization: string | null } | null>;
  has(digest: string, signal: AbortSignal): Promise<boolean>;
  /** Sends a file whose digest that is. Throws ENGINE_DOWN and what the server says. */
  upload(digest: string, file: Pick<LocalFile, "place" | "size">, options: UploadOptions): Promise<void>;
  /** Throws ENGINE_DOWN and what the server says. Leaving it by the signal ends the work there. */
  create(creation: Creation, onEvent: (event: CreateEvent) => void, signal: AbortSignal): Promise<void>;
}

export interface UploadOptions {
  onBytes: (count: number) => void;
  signal: AbortSignal;
}

const tags = z.object({
  models: z.array(
    z.object({
      name: z.string(),
      digest: z.string(),
      size: z.number(),
      details: z.object({ quantization_level: z.string() }).partial().default({}),
    }),
  ),
});
const event = z.object({
  status: z.string().default(""),
  total: z.number().optional(),
  completed: z.number().optional(),
  error: z.string().optional(),
});
const refusal = z.object({ error: z.string() });

const ANSWER_MS = 10_000;
const LARGEST_ANSWER = 64 << 10;

/** A server at that address. `isSame`: whether two names mean one model. */
export function createServer(given: string, isSame: (a: string, b: string) => boolean): CreateServer {
  const { href, headers } = withoutCredentials(given);
  const url = href.replace(/\/+$/, "");
  // Converting tens of gigabytes takes as long as it takes; only the signal ends it.
  const dispatcher = new Agent({ headersTimeout: 0, bodyTimeout: 0 });

  const send = async (
    path: string,
    init: Omit<Dispatcher.RequestOptions, "path" | "origin">,
  ): Promise<Dispatcher.ResponseData> => {
    const signal = init.signal as AbortSignal;
    try {
      return await request(`${url}${path}`, {
        ...init,
        headers: { ...headers, ...(init.headers as object) },
        dispatcher,
      });
    } catch (error) {
      signal.throwIfAborted();
      throw down(url, error);
    }
  };
  const refused = async ({ statusCode, body }: Dispatcher.ResponseData) => {
    const text = await textOf(body).catch(() => "");
    return createError(parsed(text, refusal)?.error ?? text.slice(0, 200), statusCode, url);
  };
  const drop = (body: Readable) => void body.on("error", () => undefined).destroy();

  return {
    name: url,
    async find(model, signal) {
      const patience = AbortSignal.timeout(ANSWER_MS);
      const answer = await send("/api/tags", { method: "GET", signal: AbortSignal.any([signal, patience]) }).catch(
        (error: unknown) => {
          signal.throwIfAborted();
          throw patience.aborted ? down(url, new Error(`it answered nothing within ${ANSWER_MS / 1000} s`)) : error;
        },
      );
      const found = parsed(await textOf(answer.body, Number.POSITIVE_INFINITY), tags);
      if (answer.statusCode !== 200 || !found) throw notOllama(url);
      const tag = found.models.find(({ name }) => isSame(name, model));
      if (!tag) return null;
      const { digest, size, details } = tag;
      return { digest: digest.replace(/^sha256:/, ""), size, quantization: details.quantization_level || null };
    },
    async has(digest, signal) {
      const { statusCode, body } = await send(`/api/blobs/${digest}`, { method: "HEAD", signal });
      drop(body);
      if (statusCode === 200 || statusCode === 404) return statusCode === 200;
      throw createError("", statusCode, url);
    },
    async upload(digest, { place, size }, { onBytes, signal }) {
      const file = createReadStream(place, { highWaterMark: 1 << 20 });
      // Told by who reads it, where anybody still does.
      file.on("error", () => undefined);
      async function* counted() {
        for await (const piece of file) {
          onBytes((piece as Buffer).length);
          yield piece as Buffer;
        }
      }
      try {
        const answer = await send(`/api/blobs/${digest}`, {
          method: "POST",
          body: Readable.from(counted(), { objectMode: false }),
          headers: { "content-type": "application/octet-stream", "content-length": String(size) },
          signal,
        });
        if (answer.statusCode >= 300) throw await refused(answer);
        drop(answer.body);
      } finally {
        file.destroy();
      }
    },
    async create({ model, files, quantize }, onEvent, signal) {
      const asked = JSON.stringify({ model, files, ...(quantize === null ? {} : { quantize }), stream: true });
      const headers = { "content-type": "application/json" };
      const answer = await send("/api/create", { method: "POST", body: asked, headers, signal });
      if (answer.statusCode >= 300) throw await refused(answer);
      try {
        let last = "";
        for await (const line of createInterface({ input: answer.body, crlfDelay: Number.POSITIVE_INFINITY })) {
          if (line.trim() === "") continue;
          const said = parsed(line, event);
          if (!said) throw notOllama(url);
          if (said.error !== undefined) throw createError(said.error, null, url);
          last = said.status;
          onEvent(said);
        }
        signal.throwIfAborted();
        if (last !== "success") throw down(url, new Error("it ended its answer before the model was made"));
      } catch (error) {
        signal.throwIfAborted();
        throw error instanceof MusterError ? error : down(url, error);
      } finally {
        drop(answer.body);
      }
    },
    [Symbol.asyncDispose]: () => dispatcher.destroy(),
  };
}

async function textOf(body: Readable, most = LARGEST_ANSWER): Promise<string> {
  let text = "";
  for await (const piece of body.setEncoding("utf8")) {
    text += piece;
    if (text.length > most) break;
  }
  return text;
}

function parsed<T>(text: string, schema: z.ZodType<T>): T | null {
  try {
    return schema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}

function notOllama(url: string): MusterError {
  return new MusterError("RESPONSE_INVALID", `${url} answers, but not as an Ollama server does.`, {
    hint: "Check that OLLAMA_URL is an Ollama server; `muster doctor` tries it.",
  });
}

function down(url: string, error: unknown): MusterError {
  if (error instanceof MusterError) return error;
  const why =
    error instanceof TypeError || isSystem(error) ? networkError(error, url).message : toMusterError(error).message;
  return new MusterError(
    "ENGINE_DOWN",
    `The Ollama server at ${url} is not there: ${why.replace(/^Unexpected: /, "").replace(/\.$/, "")}.`,
    {
      hint: "Start it, or check OLLAMA_URL; `muster doctor` tries it. What was sent is not sent again.",
      cause: error,
    },
  );
}

function isSystem(error: unknown): boolean {
  return error instanceof Error && "code" in error;
}
