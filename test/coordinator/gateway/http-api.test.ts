import { expect, test } from "vitest";
import { startCoordinator, type WorkerView } from "../../../src/coordinator/coordinator.ts";
import { quietLog, startWorker } from "../../register/worker.ts";
import { until } from "../../until.ts";

async function setUp(clientToken: string | null = "client-token") {
  const peer = await startCoordinator({
    ...{ host: "127.0.0.1", port: 0, workerToken: null, clientToken, beatMs: 50, log: quietLog },
  });
  const call = async (method: string, path: string, token: string | null = clientToken) => {
    const headers: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` };
    const response = await fetch(peer.url + path, { method, headers });
    const body = (await response.json()) as WorkerView & { data: WorkerView[]; error: { message: string } };
    return { status: response.status, headers: response.headers, body };
  };
  return { peer, call, [Symbol.asyncDispose]: () => peer.close() };
}

test("workers are listed and shown", async () => {
  await using api = await setUp();
  expect((await api.call("GET", "/v1/workers")).body).toEqual({ object: "list", data: [] });
  await using worker = startWorker(api.peer.wsUrl, { workerId: "a.b-c" });
  worker.board.setModel("llama", { state: "fetching" });
  await until("a beat came", () => api.peer.workers()[0]?.beats);
  const list = await api.call("GET", "/v1/workers?limit=5");
  expect(list.status).toBe(200);
  expect(Object.keys(list.body.data[0]!).sort()).toEqual(
    [
      ...["agent", "beats", "bootId", "connected", "engines", "epoch", "hardware", "id", "lastBeatAt", "models"],
      ...["ready", "registeredAt", "slots", "state", "vitals", "workerType"],
    ].sort(),
  );
  const one = await api.call("GET", "/v1/workers/a%2Eb-c");
  expect(one.body).toMatchObject({ id: "a.b-c", models: [{ model: "llama", state: "fetching" }] });
  expect(Date.parse(one.body.lastBeatAt!)).toBeGreaterThanOrEqual(Date.parse(one.body.registeredAt));
});

test("commands reach the worker", async () => {
  await using api = await setUp();
  await using worker = startWorker(api.peer.wsUrl);
  await until("it is there", () => api.peer.workers()[0]?.connected);
  for (const command of ["drain", "pause", "resume", "sync"]) {
    const answer = await api.call("POST", `/v1/workers/worker-1/${command}`);
    expect(answer).toMatchObject({ status: 202, body: { object: "worker.command", id: "worker-1", command } });
  }
  await until("all came", () => worker.commands.length === 4);
  expect(worker.commands.map(({ type }) => type)).toEqual(["drain", "pause", "resume", "sync"]);

  await worker[Symbol.asyncDispose]();
  await until("it is gone", () => !api.peer.workers()[0]?.connected);
  const answer = await api.call("POST", "/v1/workers/worker-1/drain");
  expect(answer).toMatchObject({ status: 409, body: { error: { code: "worker_disconnected" } } });
});

test("all but /livez asks for the client token", async () => {
  await using api = await setUp();
  expect(await api.call("GET", "/livez", null)).toMatchObject({ status: 200, body: { status: "ok" } });
  const head = await fetch(`${api.peer.url}/livez`, { method: "HEAD" });
  expect([head.status, await head.text()]).toEqual([200, ""]);
  for (const token of [null, "wrong", "client-token2"]) {
    for (const [method, path] of [
      ["GET", "/v1/workers"],
      ["POST", "/v1/workers/worker-1/drain"],
      ["GET", "/nowhere"],
    ] as const) {
      const answer = await api.call(method, path, token);
      expect(answer).toMatchObject({
        status: 401,
        body: { error: { type: "authentication_error", code: "invalid_api_key" } },
      });
      expect(answer.headers.get("www-authenticate")).toBe("Bearer");
    }
  }
});

test.each([
  ["GET", "/nowhere", 404, "not_found"],
  ["GET", "/v1/workers/nobody", 404, "not_found"],
  ["GET", "/v1/workers/%E0%A4%A", 404, "not_found"],
  ["POST", "/v1/workers/nobody/drain", 404, "not_found"],
  ["POST", "/v1/workers/worker-1/explode", 404, "not_found"],
  ["POST", "/v1/workers/worker-1/toString", 404, "not_found"],
  ["GET", "/v1/workers/worker-1/drain/now", 404, "not_found"],
  ["DELETE", "/v1/workers/worker-1", 405, "method_not_allowed"],
  ["POST", "/v1/workers", 405, "method_not_allowed"],
  ["GET", "/v1/workers/worker-1/drain", 405, "method_not_allowed"],
  ["POST", "/livez", 405, "method_not_allowed"],
])("%s %s is answered with %i", async (method, path, status, code) => {
  await using api = await setUp(null);
  await using _worker = startWorker(api.peer.wsUrl);
  await until("it is there", () => api.peer.workers()[0]?.connected);
  const answer = await api.call(method, path);
  expect(answer).toMatchObject({ status, body: { error: { code, type: "invalid_request_error" } } });
  expect(answer.body.error.message).toEqual(expect.any(String));
  expect(answer.headers.has("allow")).toBe(status === 405);
});
