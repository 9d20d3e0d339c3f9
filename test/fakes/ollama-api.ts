import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { answerMaking, newMaking, type OllamaMaking } from "./ollama-making.ts";

/** An Ollama server as far as fetching needs it: what it has, what it tells of a model, and pulling as a test scripts it. */

export interface OllamaTag {
  name: string;
  digest: string;
  size: number;
  modified_at: string;
  remote_host?: string;
  details?: { quantization_level?: string; format?: string };
}

export interface PullEvent {
  status?: string;
  digest?: string;
  total?: number;
  completed?: number;
  error?: string;
}

export interface Pull {
  name: string;
  insecure: boolean;
  send(event: PullEvent): void;
  /** What the server has from now on. */
  store(tag: Partial<OllamaTag>): void;
  /** Breaks the connection off. */
  cut(): void;
  /** Settles when the client has gone. */
  gone: Promise<unknown>;
}

export interface OllamaApi extends AsyncDisposable {
  url: string;
  models: OllamaTag[];
  /** By name, for /api/show. */
  info: Record<string, Record<string, unknown>>;
  /** What pulling does; the answer ends when it settles. */
  pull: (pull: Pull) => Promise<void>;
  /** What files were uploaded, by digest (`sha256:…`), and what making models of them does. */
  making: OllamaMaking;
  /** Takes connections and answers none of them, as a server that starts does. */
  silent: boolean;
  /** Paths, and the Authorization header where there is one. */
  requests: { path: string; authorization?: string }[];
}

export async function startOllamaApi(): Promise<OllamaApi> {
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  }).listen(0, "127.0.0.1");
  await once(server, "listening");

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? "";
    const { authorization } = request.headers;
    api.requests.push({ path, ...(authorization ? { authorization } : {}) });
    if (api.silent) return;
    const json = (status: number, body: object) =>
      response.writeHead(status, { "content-type": "application/json; charset=utf-8" }).end(JSON.stringify(body));
    if (path === "/api/tags") return void json(200, { models: api.models });
    if (await answerMaking(api, request, response)) return;
    let text = "";
    for await (const chunk of request) text += chunk;
    const { name = "", model = name, insecure = false } = JSON.parse(text || "{}") as Record<string, never>;
    if (path === "/api/show") {
      const info = api.info[model];
      return void (info ? json(200, { model_info: info }) : json(404, { error: `model '${model}' not found` }));
    }
    if (path !== "/api/pull") return void response.writeHead(404).end("404 page not found");
    response.writeHead(200, { "content-type": "application/x-ndjson" });
    await api.pull({
      name: model,
      insecure,
      send: (event) => void response.write(`${JSON.stringify(event)}\n`),
      store: (tag) => void api.models.push({ ...usualTag(model), ...tag }),
      cut: () => void response.socket?.resetAndDestroy(),
      gone: once(response, "close"),
    });
    response.end();
  }

  const api: OllamaApi = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    models: [],
    info: {},
    pull: async ({ send, store }) => {
      const digest = `sha256:${"b".repeat(64)}`;
      send({ status: "pulling manifest" });
      send({ status: `pulling ${"b".repeat(12)}`, digest, total: 1000 });
      send({ status: `pulling ${"b".repeat(12)}`, digest, total: 1000, completed: 1000 });
      send({ status: "verifying sha256 digest" });
      send({ status: "writing manifest" });
      store({});
      send({ status: "success" });
    },
    making: newMaking(),
    silent: false,
    requests: [],
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return api;
}

/** As the server shows a name: with its tag. */
export function usualTag(name: string): OllamaTag {
  return {
    name: /:[^/]*$/.test(name) ? name : `${name}:latest`,
    digest: "a".repeat(64),
    size: 1234,
    modified_at: "2026-01-02T03:04:05.678Z",
  };
}
