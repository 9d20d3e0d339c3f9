import type { Readable } from "node:stream";
import { Agent, type Dispatcher, request } from "undici";
import type { Engine as EngineKind } from "../../model.ts";
import { withoutCredentials } from "../../url-credentials.ts";
import { connectionError, type EngineIdentity, engineRefusal } from "./engine-error.ts";
import { wholeText } from "./lines.ts";

export interface EngineRequest {
  /** JSON text to post, or bytes; without either it is a GET. */
  body?: string | Readable;
  /** In place of the usual one. */
  method?: "HEAD";
  signal: AbortSignal;
}

/** Requests to one engine. */
export interface EngineHttp extends EngineIdentity {
  /**
   * Gives the answer as soon as its headers are there; reading it paces the engine, and leaving off reading (but
   * for the last of it), or the signal, ends the request. However long it takes: only the signal ends it. Throws an error of jobs, or the signal's reason.
   */
  send(path: string, request: EngineRequest): Promise<AsyncIterable<Uint8Array>>;
  /** A short question. The status and the JSON, if it is that; null where nothing answers in time. Never throws. */
  ask(path: string, signal: AbortSignal): Promise<{ status: number; json: unknown } | null>;
}

/** An engine that loads takes connections and answers none of them. */
const ASK_MS = 5_000;
const ASKED_BYTES = 1024 * 1024;
const ERROR_BYTES = 64 * 1024;
const REST_BYTES = 1024;
const REST_MS = 1_000;

/**
 * No time-outs: a model that loads, or a long prompt, keeps its caller waiting for minutes, and giving up would begin the
 * load anew. A connection per request: on one kept open a request can meet its closing, and nobody could tell whether
 * the job ran.
 */
const dispatcher = new Agent({ headersTimeout: 0, bodyTimeout: 0, pipelining: 0, allowH2: false });

export function engineHttp(kind: EngineKind, givenUrl: string, apiKey: string | null = null): EngineHttp {
  const { href, headers } = withoutCredentials(givenUrl);
  const url = href.replace(/\/v1$/, "");
  const engine: EngineIdentity = { kind, url };
  if (apiKey !== null) headers.authorization = `Bearer ${apiKey}`;

  const open = async (path: string, { body, method, signal }: EngineRequest) => {
    signal.throwIfAborted();
    try {
      const posted = body === undefined ? { method } : { method: "POST", body };
      return await request(`${url}${path}`, {
        ...posted,
        headers: {
          ...headers,
          ...(body === undefined
            ? {}
            : { "content-type": typeof body === "string" ? "application/json" : "application/octet-stream" }),
        },
        signal,
        dispatcher,
      });
    } catch (error) {
      signal.throwIfAborted();
      throw connectionError(engine, error);
    }
  };
  async function* read(body: Body, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    let length = 0;
    try {
      for await (const bytes of body.iterator({ destroyOnReturn: false })) {
        length += bytes.byteLength;
        yield bytes;
      }
    } catch (error) {
      signal.throwIfAborted();
      throw connectionError(engine, error);
    } finally {
      if (!body.closed) void finish(body, length);
    }
  }

  return {
    ...engine,
    async send(path, asked) {
      const { statusCode, body } = await open(path, asked);
      const pieces = read(body, asked.signal);
      if (statusCode >= 200 && statusCode < 300) return pieces;
      const text = await wholeText(pieces, ERROR_BYTES).catch(() => "");
      asked.signal.throwIfAborted();
      throw engineRefusal(engine, statusCode, text);
    },
    async ask(path, signal) {
      const patience = AbortSignal.any([signal, AbortSignal.timeout(ASK_MS)]);
      try {
        const { statusCode, body } = await open(path, { signal: patience });
        const text = await wholeText(read(body, patience), ASKED_BYTES);
        return { status: statusCode, json: parsed(text) };
      } catch {
        return null;
      }
    },
  };
}

type Body = Dispatcher.ResponseData["body"];

/**
 * Reads what is left of a body that its reader has had enough of, and breaks it off where that is more than its end: the
 * end costs little, and breaking off a connection and the errors of that.
 */
function finish(body: Body, length: number): Promise<void> {
  return body.dump({ limit: length + REST_BYTES, signal: AbortSignal.timeout(REST_MS) }).catch(() => undefined);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
