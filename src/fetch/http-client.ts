import type { Agent as HttpAgent, IncomingMessage } from "node:http";
import type { Agent as HttpsAgent } from "node:https";
import type { Dispatcher } from "undici";
import { nodeHttp, nodeHttps } from "../node-http.ts";
import type { DispatcherOptions } from "./dispatcher.ts";
import { stalled } from "./http-errors.ts";

/** An answer to a GET; its body is to be read to the end, or destroyed. */
export interface HttpReply {
  status: number;
  /** Where it came from, after redirects. */
  url: URL;
  headers: [string, string][];
  header(name: string): string | null;
  body: IncomingMessage;
}

export interface GetOptions {
  headers: Record<string, string>;
  signal?: AbortSignal;
  /** False: a redirect is the answer. */
  follow?: boolean;
}

const MAX_REDIRECTS = 5;

/**
 * Small questions over HTTP, by what Node brings: proxies as the environment names them, redirects with the token left
 * behind at another origin. fetch, or undici, would take 20 MiB of memory more.
 */
export class HttpClient implements AsyncDisposable {
  readonly #options: DispatcherOptions;
  #http: HttpAgent | null = null;
  #https: HttpsAgent | null = null;
  #dispatcher: Promise<Dispatcher> | null = null;

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /** For a library that brings a transport of its own; opened by the first call. */
  dispatcher(): Promise<Dispatcher> {
    this.#dispatcher ??= import("./dispatcher.ts").then(({ createDispatcher }) => createDispatcher(this.#options));
    return this.#dispatcher;
  }

  /** Rejects with the system's error, STALLED, or the reason of the signal. */
  async get(text: string, { headers, signal, follow = true }: GetOptions): Promise<HttpReply> {
    const first = new URL(text);
    let url = first;
    for (let hop = 0; hop <= MAX_REDIRECTS; hop += 1) {
      const { authorization, ...others } = headers;
      const sent = url.origin === first.origin && authorization ? headers : others;
      const body = await this.#request(url, { headers: sent, signal });
      const { statusCode: status = 0, rawHeaders } = body;
      const location = follow && status >= 300 && status < 400 ? body.headers.location : undefined;
      if (location === undefined) return toReply(status, url, rawHeaders, body);
      body.resume();
      url = new URL(location, url);
    }
    throw new Error(`more than ${MAX_REDIRECTS} redirects`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#http?.destroy();
    this.#https?.destroy();
    await (await this.#dispatcher)?.destroy();
  }

  #request(url: URL, { headers, signal }: GetOptions): Promise<IncomingMessage> {
    const { stallTimeoutMs: timeout, connections: maxSockets } = this.#options;
    const agent = { keepAlive: true, maxSockets, proxyEnv: process.env };
    const ask = () => {
      if (url.protocol === "https:") {
        this.#https ??= new (nodeHttps().Agent)(agent);
        return nodeHttps().request(url, { agent: this.#https, headers, signal, timeout });
      }
      this.#http ??= new (nodeHttp().Agent)(agent);
      return nodeHttp().request(url, { agent: this.#http, headers, signal, timeout });
    };
    return new Promise((resolve, reject) => {
      const request = ask();
      request
        .on("timeout", () => request.destroy(stalled(url.host, "nothing for the whole of STALL_TIMEOUT")))
        .on("response", resolve)
        .on("error", reject)
        .end();
    });
  }
}

function toReply(status: number, url: URL, raw: string[], body: IncomingMessage): HttpReply {
  const headers: [string, string][] = [];
  for (let index = 0; index < raw.length; index += 2) headers.push([raw[index] ?? "", raw[index + 1] ?? ""]);
  const header = (name: string) => headers.find(([key]) => key.toLowerCase() === name)?.[1] ?? null;
  return { status, url, headers, header, body };
}
