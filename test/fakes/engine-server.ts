import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setImmediate } from "node:timers/promises";

/** What the fakes of engines share: a real HTTP server that says what a test scripts, and has its faults. */

export type Piece = { text: string } | { thinking: string } | { call: { name: string; arguments: object } };

/** What an engine answers to jobs, in no engine's form. */
export interface Script {
  pieces: Piece[];
  /** Repeats the pieces until the client goes. */
  endless: boolean;
  finish: "stop" | "length";
  usage: { prompt: number; completion: number };
  /** In place of an answer. */
  refuse: { status: number; message: string } | null;
  /** Settles before the headers are sent, as they are when a model is loaded. */
  headers: Promise<unknown>;
  /** Settles before the piece of that number (from 0) is sent. */
  hold: { piece: number; until: Promise<unknown> } | null;
  /** In place of the piece of that number: an error in the stream, a reset, an end as if all were said, or this text. */
  fault: { piece: number; kind: "error" | "reset" | "end" | "garbage"; message?: string } | null;
  /** Bytes per write; 0 for a write a chunk. */
  packet: number;
}

export interface Asked {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  // biome-ignore lint/suspicious/noExplicitAny: whatever JSON the engine was sent, or a Buffer of what is none
  body: any;
  /** Settles when the client has gone before the answer was complete. */
  gone: Promise<void>;
}

export interface EngineServer extends AsyncDisposable {
  url: string;
  script: Script;
  /** Takes connections and answers none of them, as an engine that starts does. */
  silent: boolean;
  requests: Asked[];
  /** Waits for the request of that number (from 0) to such a path. */
  asked(path: string, number?: number): Promise<Asked>;
  /** Of streamed answers. */
  sentBytes: number;
  /** A client has not read what was sent. */
  isBlocked: boolean;
}

export interface Reply {
  json(status: number, body: unknown): void;
  /** Begins a stream. */
  open(contentType: string): void;
  /** Settles when there is room for more; rejects when the client has gone. */
  write(text: string): Promise<void>;
  end(): void;
  reset(): void;
}

/** `answer` speaks for one kind of engine. */
export async function startEngineServer(
  answer: (asked: Asked, reply: Reply, script: Script) => Promise<void>,
  port = 0,
): Promise<EngineServer> {
  const arrivals = new Set<() => void>();
  const server = createServer(async (request, response) => {
    try {
      const pieces: Buffer[] = [];
      for await (const piece of request) pieces.push(piece);
      const bytes = Buffer.concat(pieces);
      const isBytes = request.headers["content-type"] === "application/octet-stream";
      const gone = once(response, "close").then(() => {
        // What is complete was taken.
        if (response.writableFinished) return new Promise<void>(() => undefined);
      });
      const path = request.url ?? "";
      const body = isBytes ? bytes : JSON.parse(bytes.toString("utf8") || "null");
      const asked: Asked = { method: request.method ?? "", path, headers: request.headers, body, gone };
      engine.requests.push(asked);
      for (const arrive of arrivals) arrive();
      if (engine.silent) return;
      await answer(asked, replyTo(response), { ...engine.script });
    } catch {
      response.destroy();
    }
  }).listen(port, "127.0.0.1");
  await once(server, "listening");

  const replyTo = (response: ServerResponse): Reply => ({
    json(status, body) {
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    },
    open: (contentType) => void response.writeHead(200, { "content-type": contentType }).flushHeaders(),
    async write(text) {
      const bytes = Buffer.from(text);
      const size = engine.script.packet || bytes.length;
      for (let at = 0; at < bytes.length; at += size) {
        if (response.destroyed) throw new Error("the client has gone");
        const hasRoom = response.write(bytes.subarray(at, at + size));
        engine.sentBytes += Math.min(size, bytes.length - at);
        if (engine.script.packet) await setImmediate();
        if (hasRoom) continue;
        engine.isBlocked = true;
        await roomIn(response);
        engine.isBlocked = false;
      }
    },
    end: () => void response.end(),
    reset: () => void response.socket?.resetAndDestroy(),
  });

  const engine: EngineServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    script: {
      pieces: [{ text: "Hello" }, { text: ", wörld 🌍" }],
      endless: false,
      finish: "stop",
      usage: { prompt: 7, completion: 3 },
      refuse: null,
      headers: Promise.resolve(),
      hold: null,
      fault: null,
      packet: 0,
    },
    silent: false,
    requests: [],
    sentBytes: 0,
    isBlocked: false,
    asked(path, number = 0) {
      const { promise, resolve } = Promise.withResolvers<Asked>();
      const look = () => {
        const found = engine.requests.filter((each) => each.path === path)[number];
        if (found) resolve(found);
      };
      arrivals.add(look);
      look();
      return promise.finally(() => arrivals.delete(look));
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return engine;
}

function roomIn(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const settle = () => {
      response.off("drain", settle).off("close", settle);
      resolve();
    };
    response.once("drain", settle).once("close", settle);
  });
}

export interface Dialect {
  contentType: string;
  /** Before the first piece. */
  head: string;
  piece(piece: Piece, number: number): string;
  /** After the last. */
  tail: string;
  error(message: string): string;
}

/** Says the script in an engine's own words. */
export async function say(script: Script, dialect: Dialect, reply: Reply): Promise<void> {
  const { pieces, endless, hold, fault } = script;
  reply.open(dialect.contentType);
  if (dialect.head) await reply.write(dialect.head);
  for (let number = 0; endless || number <= pieces.length; number += 1) {
    if (hold?.piece === number) await hold.until;
    if (fault?.piece === number) {
      if (fault.kind === "reset") return reply.reset();
      const { kind, message = "something broke" } = fault;
      if (kind === "error") await reply.write(dialect.error(message));
      if (kind === "garbage") await reply.write(message);
      return reply.end();
    }
    const piece = pieces[endless ? number % pieces.length : number];
    if (piece) await reply.write(dialect.piece(piece, number));
  }
  await reply.write(dialect.tail);
  reply.end();
}

/** The probabilities of a piece, in the form that both APIs have for it. */
export function logprobsOf(piece: Piece): object[] {
  return "text" in piece ? [{ token: piece.text, logprob: -0.5, bytes: null, top_logprobs: [] }] : [];
}

/** The embedding of a text, so that a test can tell whose it is. All values are exact in 32 bits. */
export function vectorOf(text: string): number[] {
  return [text.length, 0.5, -0.25];
}
