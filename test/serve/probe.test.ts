import { once } from "node:events";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "vitest";
import { probe, probeEngines } from "../../src/serve/engines/probe.ts";
import { createStatusBoard } from "../../src/status.ts";
import { until } from "../until.ts";

async function listening(listener: RequestListener, port = 0): Promise<Server & AsyncDisposable & { port: number }> {
  const server = createServer(listener).listen(port, "127.0.0.1");
  await once(server, "listening");
  const close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return Object.assign(server, { port: (server.address() as AddressInfo).port, [Symbol.asyncDispose]: close });
}

const never = () => new AbortController().signal;
const models: RequestListener = (request, response) => {
  response.statusCode = request.url === "/v1/models" ? 200 : 404;
  response.end("{}");
};

test("an engine comes and goes, and the models that are stored for it with it", async ({ expect }) => {
  const board = createStatusBoard({ version: "1", workerId: "w", bootId: "b", workerType: "t" });
  board.setModel("served", { engine: "vllm", state: "stored" });
  board.setModel("others", { engine: "ollama", state: "stored" });
  board.setModel("coming", { engine: "vllm", state: "fetching" });
  const stateOf = (id: string) => board.current.models.find((model) => model.id === id)?.state;
  const { port, ...first } = await listening(models);
  await first[Symbol.asyncDispose]();
  const url = `http://127.0.0.1:${port}`;
  const stop = new AbortController();
  const probing = probeEngines({ urls: { vllm: url, openai: null }, board, signal: stop.signal, everyMs: 10 });

  await until("the engine is known to be away", () => board.current.engines.length > 0);
  expect(board.current.engines).toEqual([{ kind: "vllm", url, reachable: false, version: null }]);
  expect(stateOf("served")).toBe("stored");
  {
    await using _engine = await listening(models, port);
    await until("the model is ready", () => stateOf("served") === "ready");
    expect([stateOf("others"), stateOf("coming")]).toEqual(["stored", "fetching"]);
    expect(board.current.engines[0]?.reachable).toBe(true);
  }
  await until("the model is stored only", () => stateOf("served") === "stored");
  {
    await using _engine = await listening(models, port);
    await until("the model is ready again", () => stateOf("served") === "ready");
  }
  stop.abort();
  await probing;
});

test("each kind of engine is asked in its own way", async ({ expect }) => {
  const asked: string[] = [];
  await using server = await listening((request, response) => {
    asked.push(request.url ?? "");
    response.end(JSON.stringify({ version: "0.9.1" }));
  });
  const url = `http://127.0.0.1:${server.port}`;
  expect(await probe("ollama", `${url}/`, never())).toEqual({
    kind: "ollama",
    url: `${url}/`,
    reachable: true,
    version: "0.9.1",
  });
  await probe("openai", `${url}/v1/`, never());
  await probe("vllm", url, never());
  expect(asked).toEqual(["/api/version", "/v1/models", "/v1/models"]);
});

test("an engine that errs or answers with something else is no reason to throw", async ({ expect }) => {
  let status = 503;
  await using server = await listening((_request, response) => {
    response.statusCode = status;
    response.end("loading");
  });
  const url = `http://127.0.0.1:${server.port}`;
  expect(await probe("ollama", url, never())).toMatchObject({ reachable: false, version: null });
  status = 200;
  expect(await probe("ollama", url, never())).toMatchObject({ reachable: true, version: null });
});

test("nobody waits for a silent engine when the agent leaves", async ({ expect }) => {
  const asked = Promise.withResolvers<void>();
  await using server = await listening(() => asked.resolve());
  const board = createStatusBoard({ version: "1", workerId: "w", bootId: "b", workerType: "t" });
  const stop = new AbortController();
  const urls = { vllm: `http://127.0.0.1:${server.port}` };
  const probing = probeEngines({ urls, board, signal: stop.signal });
  await asked.promise;
  stop.abort();
  await probing;
  // It was not found out whether it is there.
  expect(board.current.engines).toEqual([]);
});

test("without engines there is nothing to ask", async () => {
  const board = createStatusBoard({ version: "1", workerId: "w", bootId: "b", workerType: "t" });
  await probeEngines({ urls: { ollama: null }, board, signal: never() });
});
