import { once } from "node:events";
import { connect } from "node:net";
import fc from "fast-check";
import { expect, test } from "vitest";
import { WebSocket } from "ws";
import { type CoordinatorOptions, startCoordinator } from "../../src/coordinator/coordinator.ts";
import type { ModelReport } from "../../src/protocol.ts";
import { messages } from "../register/messages.ts";
import { quietLog } from "../register/worker.ts";
import { until } from "../until.ts";
import { beat, hello, openRawWorker } from "./raw-worker.ts";

const coordinator = (change: Partial<CoordinatorOptions> = {}) =>
  startCoordinator({ host: "127.0.0.1", port: 0, workerToken: null, clientToken: null, log: quietLog, ...change });

const MODEL: ModelReport = {
  ...{ model: "llama", source: "huggingface", location: "org/llama", variant: "fp16", revision: "main" },
  ...{ required: true, state: "fetching", bytesDone: 0, bytesTotal: 10, rate: 0, errorCode: null },
};

/** The answer to an upgrade that is refused. */
async function refusedUpgrade(url: string, protocols: string[], headers: Record<string, string> = {}) {
  const socket = new WebSocket(url, protocols, { headers });
  socket.on("error", () => undefined);
  const [, response] = await once(socket, "unexpected-response");
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return {
    status: response.statusCode as number,
    headers: response.headers,
    body: JSON.parse(Buffer.concat(chunks).toString()),
  };
}

test("hello is welcomed with the terms, beats are acknowledged at once, models are merged", async () => {
  await using peer = await coordinator({ beatMs: 1234, leaseMs: 5000, graceMs: 600, maxFrame: 70_000 });
  using worker = await openRawWorker(peer.wsUrl);
  worker.send(
    hello({ models: [MODEL, { ...MODEL, model: "bge" }], jobs: [{ jobId: "j", attempt: 1, lease: "l", cs: 0 }] }),
  );
  worker.send(beat(7, { jobs: [{ jobId: "j", attempt: 1 }] }));
  worker.send({ t: "model.state", ...MODEL, state: "ready", bytesDone: 10 });
  worker.send({ t: "model.state", ...MODEL, model: "new" });
  await until("all is taken", () => peer.workers()[0]?.models.length === 3 && worker.frames.length === 2);
  expect(worker.frames).toMatchObject([
    {
      ...{ t: "welcome", epoch: 1, beatMs: 1234, leaseMs: 5000, graceMs: 600, maxFrame: 70_000 },
      ...{ sessionId: expect.any(String), resume: [{ jobId: "j", verdict: "abandon" }] },
    },
    { t: "beat.ack", n: 7, renewed: [], lost: ["j"] },
  ]);
  expect(peer.workers()).toMatchObject([
    {
      ...{ id: "worker-1", state: "ready", ready: true, connected: true, beats: 1 },
      models: [{ model: "llama", state: "ready", bytesDone: 10 }, { model: "bge" }, { model: "new" }],
    },
  ]);
  expect(peer.workers()[0]?.models[0]).not.toHaveProperty("t");
});

test("a drain is taken from its own frame, before any beat says so", async () => {
  await using peer = await coordinator();
  using worker = await openRawWorker(peer.wsUrl);
  worker.send(hello());
  worker.send(beat(1));
  worker.send({ t: "drain", reason: "SIGTERM" });
  await until("it drains", () => peer.workers()[0]?.state === "draining");
  expect(peer.workers()[0]).toMatchObject({ connected: true, beats: 1 });
});

test("an upgrade needs the worker token and the subprotocol", async () => {
  await using peer = await coordinator({ workerToken: "worker-token", clientToken: "client-token" });
  for (const authorization of [undefined, "Bearer client-token", "Bearer worker-token2", "Basic worker-token", "x"]) {
    const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
    const answer = await refusedUpgrade(peer.wsUrl, ["muster.v1"], headers);
    expect(answer).toMatchObject({ status: 401, body: { error: { code: "invalid_api_key" } } });
    expect(answer.headers["www-authenticate"]).toBe("Bearer");
  }
  const headers = { authorization: "Bearer worker-token" };
  for (const protocols of [[], ["muster.v2", "chat"]]) {
    const answer = await refusedUpgrade(peer.wsUrl, protocols, headers);
    expect(answer).toMatchObject({ status: 400, body: { error: { code: "unsupported_protocol" } } });
  }
  using worker = await openRawWorker(peer.wsUrl, "worker-token");
  expect(worker.socket.protocol).toBe("muster.v1");
});

test("without tokens it serves loopback only, and no web pages", async () => {
  for (const change of [{}, { workerToken: "a" }, { clientToken: "b" }]) {
    await expect(coordinator({ host: "0.0.0.0", ...change })).rejects.toMatchObject({
      code: "CONFIG_INVALID",
      hint: expect.stringContaining("127.0.0.1"),
    });
  }
  await (await coordinator({ host: "0.0.0.0", workerToken: "a", clientToken: "b" })).close();
  await using peer = await coordinator();
  const origin = { origin: "https://example.com" };
  expect((await refusedUpgrade(peer.wsUrl, ["muster.v1"], origin)).status).toBe(403);
  expect((await fetch(`${peer.url}/v1/workers`, { headers: origin })).status).toBe(403);
});

test("a port that is taken is told", async () => {
  await using peer = await coordinator();
  await expect(coordinator({ port: peer.port })).rejects.toMatchObject({ code: "PORT_IN_USE" });
});

test("no hello in time closes with 4008", async () => {
  await using peer = await coordinator({ helloTimeoutMs: 30 });
  using worker = await openRawWorker(peer.wsUrl);
  expect(await worker.closed).toEqual({ code: 4008, reason: "no hello in time" });
});

test.each([
  ["text that is no JSON", "{", "the message is not JSON"],
  ["a list", "[]", "the message has no type"],
  ["a frame only coordinators send", JSON.stringify({ t: "pause" }), "pause: t:"],
  ["a beat before the hello", JSON.stringify(beat(1)), "beat: before hello"],
  ["a hello without a worker id", JSON.stringify({ ...hello(), workerId: "" }), "hello: workerId:"],
  ["binary", Buffer.from(JSON.stringify(hello())), "binary message"],
])("%s closes with 4000 and the reason", async (_, message, reason) => {
  await using peer = await coordinator();
  using worker = await openRawWorker(peer.wsUrl);
  worker.socket.send(message);
  const closed = await worker.closed;
  expect(closed.code).toBe(4000);
  expect(closed.reason).toContain(reason);
  expect(peer.workers()).toEqual([]);
});

test("a reason in another script still fits a close frame", async () => {
  await using peer = await coordinator();
  using worker = await openRawWorker(peer.wsUrl);
  worker.send(hello());
  const usage = { ["語".repeat(200)]: "x" };
  worker.socket.send(JSON.stringify({ t: "job.result", jobId: "j", attempt: 1, status: "done", usage }));
  expect((await worker.closed).code).toBe(4000);
});

test("a second hello closes with 4000, a message over maxFrame with 1009, an unknown type is ignored", async () => {
  await using peer = await coordinator({ maxFrame: 10_000 });
  using twice = await openRawWorker(peer.wsUrl);
  twice.send(hello());
  twice.socket.send(JSON.stringify({ t: "weather" }));
  twice.send(beat(1));
  twice.send(hello());
  expect(await twice.closed).toEqual({ code: 4000, reason: "hello: twice in one session" });
  expect(twice.frames.map(({ t }) => t)).toEqual(["welcome", "beat.ack"]);

  using large = await openRawWorker(peer.wsUrl);
  large.send(hello({ agent: "x".repeat(20_000) }));
  expect((await large.closed).code).toBe(1009);
});

test("the newest process has the worker id; the socket of the same process is replaced in silence", async () => {
  await using peer = await coordinator();
  using first = await openRawWorker(peer.wsUrl);
  first.send(hello());
  await until("it is there", () => peer.workers().length);
  using again = await openRawWorker(peer.wsUrl);
  again.send(hello({ models: [MODEL] }));
  expect((await first.closed).code).toBe(1001);
  expect(peer.workers()).toMatchObject([{ bootId: "boot-1", connected: true, epoch: 2, models: [MODEL] }]);

  using newer = await openRawWorker(peer.wsUrl);
  newer.send(hello({ bootId: "boot-2" }));
  expect((await again.closed).code).toBe(4009);
  using late = await openRawWorker(peer.wsUrl);
  late.send(hello());
  expect((await late.closed).code).toBe(4009);
  newer.send(beat(1));
  await until("the newer is alive", () => peer.workers()[0]?.beats);
  expect(peer.workers()).toMatchObject([{ bootId: "boot-2", connected: true, epoch: 3 }]);
});

test("a worker that is gone is kept for lease and grace; a silent socket is dropped after the lease", async () => {
  await using peer = await coordinator({ leaseMs: 80, graceMs: 80 });
  using silent = await openRawWorker(peer.wsUrl);
  silent.send(hello({ ready: true }));
  await until("it is there", () => peer.workers()[0]?.ready);
  expect(await silent.closed).toMatchObject({ code: 1001, reason: expect.stringContaining("silent") });
  await until("it is disconnected", () => peer.workers()[0]?.connected === false);
  expect(peer.workers()[0]?.ready).toBe(false);
  await until("it is forgotten", () => peer.workers().length === 0);
});

test("frames go to a connected worker only", async () => {
  await using peer = await coordinator();
  using worker = await openRawWorker(peer.wsUrl);
  worker.send(hello());
  await until("it is there", () => peer.workers().length);
  expect(await peer.send("worker-1", { t: "models.ensure", models: ["a"] })).toBe(true);
  expect(await peer.send("worker-2", { t: "pause" })).toBe(false);
  await until("it got the frame", () => worker.frames.some((frame) => frame.t === "models.ensure"));
  worker.socket.close(1000);
  await until("it is gone", () => !peer.workers()[0]?.connected);
  expect(await peer.send("worker-1", { t: "pause" })).toBe(false);
});

test("closing sends the workers away with 1012, even those that do not answer, and frees the port", async () => {
  const peer = await coordinator();
  using worker = await openRawWorker(peer.wsUrl);
  using deaf = await openRawWorker(peer.wsUrl);
  using unknown = await openRawWorker(peer.wsUrl);
  worker.send(hello());
  deaf.send(hello({ workerId: "deaf" }));
  await until("both are there", () => peer.workers().length === 2);
  deaf.socket.pause();
  await Promise.all([peer.close(), peer.close()]);
  expect((await worker.closed).code).toBe(1012);
  expect((await unknown.closed).code).toBe(1012);
  await (await coordinator({ port: peer.port })).close();
});

test("no message a worker can send brings the coordinator down", async () => {
  await using peer = await coordinator();
  const types = ["hello", "beat", "model.state", "credit", "job.accept", "job.chunk", "job.result", "drain", "bye"];
  const codes = new Set<number>();
  for (const [position, message] of fc.sample(messages(types), 300).entries()) {
    using worker = await openRawWorker(peer.wsUrl);
    if (position % 2) worker.send(hello({ workerId: `worker-${position % 7}` }));
    worker.socket.send(message);
    worker.socket.send("end");
    codes.add((await worker.closed).code);
  }
  expect([...codes]).toEqual([4000]);
  using worker = await openRawWorker(peer.wsUrl);
  worker.send(hello({ workerId: "well" }));
  await until("a good worker is served", () => worker.frames.length);
});

test("bytes that are no WebSocket frames end that connection only", async () => {
  await using peer = await coordinator();
  const upgrade = [
    ...["GET / HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"],
    ...["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: muster.v1", "", ""],
  ].join("\r\n");
  for (const bytes of fc.sample(fc.uint8Array({ minLength: 1, maxLength: 100 }), 50)) {
    const socket = connect(peer.port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.resume();
    socket.end(Buffer.concat([Buffer.from(upgrade), Buffer.from([0xff]), bytes]));
    await once(socket, "close");
  }
  for (const start of ["\r\n\r\n", "GET / HTTP/9\r\n\r\n", upgrade.replace("13", "99"), upgrade.replace("dGhl", "")]) {
    const socket = connect(peer.port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.resume();
    socket.end(start);
    await once(socket, "close");
  }
  expect((await fetch(`${peer.url}/livez`)).status).toBe(200);
});
