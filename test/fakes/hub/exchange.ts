import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { Faults } from "./faults.ts";
import type { Repository } from "./repository.ts";
import type { HubRequest, RequestLog } from "./request-log.ts";
import type { UrlSigner } from "./signing.ts";

export interface TokenSpec {
  name: string;
  /** Gated repositories this token is on the list of. */
  gatedAccess?: string[];
  /** Private repositories it may see, besides those under its own name. */
  privateAccess?: string[];
}

/** What every route needs to know of the running hub. */
export interface HubState {
  repos: Map<string, Repository>;
  tokens: Record<string, TokenSpec>;
  faults: Faults;
  log: RequestLog;
  signer: UrlSigner;
  cdnUrl: string;
  pageSize: number;
  onRequest: ((request: HubRequest) => void | Promise<void>) | undefined;
}

/** One request on its way to an answer. */
export interface Exchange {
  hub: HubState;
  req: IncomingMessage;
  res: ServerResponse;
  seen: HubRequest;
}

/** An error answer, thrown by routes. */
export class Refusal extends Error {
  readonly status: number;
  readonly headers: Record<string, string>;

  constructor(status: number, message: string, headers: Record<string, string> = {}) {
    super(message);
    this.status = status;
    this.headers = headers;
  }
}

/** Thrown when the connection went away; nobody is left to be told anything. */
export class ClientLeft extends Error {}

export function sendHead(exchange: Exchange, status: number, headers: Record<string, string | number>): void {
  exchange.seen.status = status;
  exchange.res.writeHead(status, headers);
}

export function sendText(exchange: Exchange, status: number, text: string, headers: Record<string, string> = {}): void {
  const body = Buffer.from(text);
  sendHead(exchange, status, {
    "Content-Type": "text/plain; charset=utf-8",
    ...headers,
    "Content-Length": body.length,
  });
  const silent = exchange.req.method === "HEAD";
  exchange.seen.bytesSent += silent ? 0 : body.length;
  exchange.res.end(silent ? undefined : body);
}

export function sendJson(exchange: Exchange, value: unknown, headers: Record<string, string> = {}): void {
  sendText(exchange, 200, JSON.stringify(value), { "Content-Type": "application/json; charset=utf-8", ...headers });
}

/** Object stores explain themselves in XML, the Hub in JSON with the text in a header as well. */
export function sendRefusal(exchange: Exchange, refusal: Refusal): void {
  const { status, message, headers } = refusal;
  if (exchange.seen.host === "cdn") {
    const xml = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Message>${message}</Message></Error>`;
    sendText(exchange, status, xml, { "Content-Type": "application/xml", ...headers });
  } else {
    sendText(exchange, status, JSON.stringify({ error: message }), {
      "Content-Type": "application/json; charset=utf-8",
      // The client's own words come back in it, and a header takes no other characters.
      "X-Error-Message": message.replace(/[^\x20-\x7e]/g, "?"),
      ...headers,
    });
  }
}

/** Hands bytes to the socket and waits until they left; a client that goes away ends the wait. */
export function write(exchange: Exchange, piece: Buffer): Promise<void> {
  return untilClientLeaves(exchange, (done) => exchange.res.write(piece, () => done()));
}

/** Says nothing for `ms`, or for as long as the client stays. */
export async function stall(exchange: Exchange, ms: number | undefined): Promise<void> {
  const enough = new AbortController();
  try {
    await untilClientLeaves(exchange, (done) => {
      if (ms !== undefined) sleep(ms, undefined, { signal: enough.signal }).then(done, () => undefined);
    });
  } finally {
    enough.abort();
  }
}

function untilClientLeaves(exchange: Exchange, begin: (done: () => void) => void): Promise<void> {
  const { socket } = exchange.req;
  return new Promise((resolve, reject) => {
    const left = () => reject(new ClientLeft());
    if (socket.destroyed) return left();
    socket.once("close", left);
    begin(() => {
      socket.off("close", left);
      resolve();
    });
  });
}
