import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { expect, test } from "vitest";
import { type CoordinatorOptions, startCoordinator } from "../../src/coordinator/coordinator.ts";
import { MusterError } from "../../src/errors.ts";
import { until } from "../until.ts";
import { behave, startFakeCoordinator, WELCOME } from "./fake-coordinator.ts";
import { noJobs } from "./no-jobs.ts";
import { quietLog, startWorker } from "./worker.ts";

const coordinator = (change: Partial<CoordinatorOptions> = {}) =>
  startCoordinator({
    host: "127.0.0.1",
    port: 0,
    workerToken: null,
    clientToken: null,
    beatMs: 50,
    log: quietLog,
    ...change,
  });

test("a worker registers, is welcomed and has its beats acknowledged", async () => {
  await using peer = await coordinator();
  await using worker = startWorker(peer.wsUrl, {
    gpuUsage: async () => [{ uuid: "GPU-1", memoryUsedMiB: 10, memoryFreeMiB: 20, utilization: 3 }],
  });
  await until("three beats came", () => (peer.workers()[0]?.beats ?? 0) >= 3);
  const [view] = peer.workers();
  expect(view).toMatchObject({
    id: "worker-1",
    bootId: worker.board.current.bootId,
    agent: "1.2.3",
    workerType: "chat",
    connected: true,
    ready: false,
    state: "starting",
    epoch: 1,
    slots: { chat: 2 },
    hardware: { driverVersion: "550.1", gpus: [{ uuid: "GPU-1" }] },
    vitals: { diskFreeBytes: 5e9, gpus: [{ uuid: "GPU-1", memoryUsedMiB: 10 }] },
  });
  expect(worker.board.current.coordinator).toMatchObject({
    url: peer.wsUrl,
    connected: true,
    epoch: 1,
    beatMs: 50,
    error: null,
    sessionId: expect.any(String),
    lastAckAt: expect.any(Number),
  });
});

test("beats count up without a gap, the first right behind the welcome", async () => {
  await using peer = await startFakeCoordinator(behave);
  await using _worker = startWorker(peer.url);
  const beats = () => peer.sessions[0]?.frames.filter((frame) => frame.t === "beat") ?? [];
  await until("five beats came", () => beats().length >= 5);
  expect(peer.sessions[0]?.frames.slice(0, 2).map((frame) => frame.t)).toEqual(["hello", "beat"]);
  expect(beats().map((beat) => beat.n)).toEqual(beats().map((_, position) => position + 1));
});

test("progress and readiness of models reach the coordinator", async () => {
  await using peer = await startFakeCoordinator((session, frame) => {
    // No ack is due for minutes: every beat but the first comes from a change.
    if (frame.t === "hello") session.send({ ...WELCOME, beatMs: 300_000 });
  });
  await using worker = startWorker(peer.url);
  const frames = () => peer.sessions[0]?.frames ?? [];
  const told = () => frames().filter((frame) => frame.t === "model.state");
  await until("the first beat came", () => frames().some((frame) => frame.t === "beat"));

  worker.board.setModel("llama", { state: "requested", bytesTotal: 1000 });
  worker.board.update({ state: "syncing" });
  worker.board.setModel("llama", { state: "fetching" });
  for (let bytesDone = 1; bytesDone <= 100; bytesDone += 1) worker.board.setModel("llama", { bytesDone, rate: 0.5 });
  await until("progress came", () => told().some((frame) => frame.bytesDone === 100));
  worker.board.setModel("llama", { state: "stored", bytesDone: 1000, rate: Number.NaN });
  await until("a ready beat came", () => frames().some((frame) => frame.t === "beat" && frame.ready));

  // A hundred steps of progress within half a second are one frame.
  expect(told().map(({ state, bytesDone }) => [state, bytesDone])).toEqual([
    ["requested", 0],
    ["fetching", 0],
    ["fetching", 100],
    ["stored", 1000],
  ]);
  const beats = frames().filter((frame) => frame.t === "beat");
  expect(beats.map(({ state, ready, modelsRevision }) => [state, ready, modelsRevision])).toEqual([
    ["starting", false, 0],
    ["syncing", false, 1],
    ["ready", true, 3],
  ]);
});

test("a model that changes between hello and welcome is not forgotten", async () => {
  await using peer = await startFakeCoordinator(() => undefined);
  await using worker = startWorker(peer.url);
  worker.board.setModel("llama", { state: "fetching" });
  const session = await until("the hello came", () => peer.sessions[0]?.frames.length && peer.sessions[0]);
  expect(session.frames[0]).toMatchObject({ t: "hello", models: [{ model: "llama", state: "fetching" }] });
  worker.board.setModel("llama", { state: "stored" });
  session.send(WELCOME);
  await until("the change came", () => session.frames.some((frame) => frame.t === "model.state"));
  expect(session.frames.filter((frame) => frame.t === "model.state")).toMatchObject([{ state: "stored" }]);
});

test("why a model failed, by which names it was asked for, and that it is removed are told at once", async () => {
  await using peer = await startFakeCoordinator((session, frame) => {
    if (frame.t === "hello") session.send(WELCOME);
  });
  await using worker = startWorker(peer.url);
  const told = () => peer.sessions[0]?.frames.filter((frame) => frame.t === "model.state") ?? [];
  await until("a beat came", () => peer.sessions[0]?.frames.some(({ t }) => t === "beat"));
  const error = new MusterError("NOTHING_FITS", `hf_abcdefghijklmnopqrst ${"x".repeat(900)}`, { hint: "-" }).toJSON();
  worker.board.setModel("late", { state: "failed", error, asked: ["hf:acme/late"] });
  worker.board.setModel("late", { asked: ["hf:acme/late", "acme/late"] });
  worker.board.removeModel("late");
  await until("all came", () => told().some(({ removed }) => removed));
  expect(told().map(({ state, errorCode, asked, removed }) => [state, errorCode, asked, removed])).toEqual([
    ["failed", "NOTHING_FITS", ["hf:acme/late"], undefined],
    ["failed", "NOTHING_FITS", ["hf:acme/late", "acme/late"], undefined],
    ["failed", "NOTHING_FITS", ["hf:acme/late", "acme/late"], true],
  ]);
  expect(told()[0]?.error).toMatch(/^\[redacted\] x+$/);
  expect(told()[0]?.error).toHaveLength(500);
});

test("a model that is removed between hello and welcome is told as removed", async () => {
  await using peer = await startFakeCoordinator(() => undefined);
  await using worker = startWorker(peer.url);
  worker.board.setModel("llama", { state: "ready", required: false });
  const session = await until("the hello came", () => peer.sessions[0]?.frames.length && peer.sessions[0]);
  worker.board.removeModel("llama");
  session.send(WELCOME);
  const told = await until("it is told", () => session.frames.find((frame) => frame.t === "model.state"));
  expect(told).toMatchObject({ model: "llama", state: "failed", removed: true, error: null });
});

test("a wrong token is told loudly and tried again", async () => {
  await using peer = await coordinator({ workerToken: "right-token" });
  await using worker = startWorker(peer.wsUrl, { token: async () => "wrong-token" });
  const refused = () => worker.lines.filter((line) => line.code === "COORDINATOR_REFUSED");
  await until("two tries were refused", () => refused().length >= 2);
  expect(refused()[0]).toMatchObject({ level: 50, msg: expect.stringContaining("401") });
  expect(worker.board.current.coordinator?.error).toContain("COORDINATOR_TOKEN_FILE");
  expect(JSON.stringify([worker.lines, worker.board.current])).not.toContain("wrong-token");
  expect(peer.workers()).toEqual([]);
});

test("the token is read again at every connection", async () => {
  await using peer = await coordinator({ workerToken: "second-token" });
  const tokens = ["first-token", "second-token"];
  await using _worker = startWorker(peer.wsUrl, { token: async () => tokens.shift() ?? "second-token" });
  await until("the second token is taken", () => peer.workers()[0]?.connected);
});

test("4001 makes the worker come back with a new token", async () => {
  await using peer = await startFakeCoordinator((session, frame, position) => {
    if (position > 0) behave(session, frame);
    else if (frame.t === "hello") session.socket.close(4001, "token expired");
  });
  let reads = 0;
  await using worker = startWorker(peer.url, { token: async () => `token-${++reads}` });
  await until("the worker is connected", () => worker.board.current.coordinator?.connected);
  expect(peer.sessions.map(({ authorization }) => authorization)).toEqual(["Bearer token-1", "Bearer token-2"]);
});

test("a token that cannot be read is tried again", async () => {
  await using peer = await coordinator({ workerToken: "right-token" });
  let reads = 0;
  await using worker = startWorker(peer.wsUrl, {
    token: async () => {
      reads += 1;
      if (reads === 1) throw new Error("ENOENT");
      return reads === 2 ? "broken\ntoken" : "right-token";
    },
  });
  await until("the worker is listed", () => peer.workers()[0]?.connected);
  expect(worker.lines.map((line) => line.code).filter(Boolean)).toEqual([
    "COORDINATOR_REFUSED",
    "COORDINATOR_UNREACHABLE",
  ]);
});

test("the older of two processes under one worker id ends, and cannot come back", async () => {
  await using peer = await coordinator();
  await using older = startWorker(peer.wsUrl, { bootId: "boot-1" });
  await until("the older is there", () => peer.workers()[0]?.bootId === "boot-1");
  await using newer = startWorker(peer.wsUrl, { bootId: "boot-2" });
  const error = await older.registration.ended;
  expect(error).toMatchObject({ code: "SUPERSEDED", exitCode: 78, hint: expect.stringContaining("WORKER_ID") });
  expect(older.board.current.coordinator).toMatchObject({ connected: false, error: expect.stringContaining("newer") });
  await using again = startWorker(peer.wsUrl, { bootId: "boot-1" });
  expect(await again.registration.ended).toMatchObject({ code: "SUPERSEDED" });
  expect(peer.workers()).toMatchObject([{ bootId: "boot-2", connected: true, epoch: 2 }]);
  await until("the newer knows its place", () => newer.board.current.coordinator?.connected);
});

test.each([4003, 4010])("close code %i ends the registration", async (code) => {
  await using peer = await startFakeCoordinator((session) => session.socket.close(code, "no"));
  await using worker = startWorker(peer.url);
  const error = await worker.registration.ended;
  expect(error).toBeInstanceOf(MusterError);
  expect(error).toMatchObject({ code: "COORDINATOR_REFUSED", exitCode: 78, details: { closeCode: code } });
});

test("the same process may reconnect; its older socket is no rival", async () => {
  await using peer = await coordinator();
  await using worker = startWorker(peer.wsUrl);
  await until("it is there", () => peer.workers()[0]?.connected);
  const registeredAt = peer.workers()[0]?.registeredAt;
  expect(await peer.send("worker-1", { t: "reconnect" })).toBe(true);
  await until("it came back", () => peer.workers()[0]?.epoch === 2 && peer.workers()[0]?.connected);
  await until("it is told so", () => worker.board.current.coordinator?.epoch === 2);
  expect(peer.workers()).toMatchObject([{ bootId: worker.board.current.bootId, registeredAt }]);
});

test("a restarted coordinator gets its workers back", async () => {
  const first = await coordinator();
  await using worker = startWorker(first.wsUrl);
  await until("it is there", () => first.workers()[0]?.connected);
  await first.close();
  await until("the loss is seen", () => worker.board.current.coordinator?.connected === false);
  await using second = await coordinator({ port: first.port });
  await until("it is there again", () => second.workers()[0]?.connected);
  expect(worker.lines.some((line) => line.msg.includes("1012"))).toBe(true);
});

test("a coordinator that takes the connection and acknowledges nothing is left", async () => {
  await using peer = await startFakeCoordinator((session, frame) => {
    if (frame.t === "hello") session.send(WELCOME);
  });
  await using worker = startWorker(peer.url);
  await until("it connected three times", () => peer.sessions.length >= 3);
  const warning = worker.lines.find((line) => line.msg.includes("no beat acknowledged"));
  expect(warning).toMatchObject({ level: 40, code: "COORDINATOR_UNREACHABLE" });
  // Without an acknowledgement no session counts as one that held.
  const attempts = worker.lines.filter((line) => "attempt" in line).map((line) => line.attempt);
  expect(attempts).toEqual(attempts.map((_, position) => position + 1));
});

test("acknowledgements of beats that were never sent, or long ago, keep nothing alive", async () => {
  await using peer = await startFakeCoordinator((session, frame) => {
    if (frame.t === "hello") session.send(WELCOME);
    if (frame.t === "beat") for (const n of [1, 1_000_000]) session.send({ t: "beat.ack", n });
  });
  await using _worker = startWorker(peer.url);
  await until("it connected again", () => peer.sessions.length >= 2);
});

test("a server that never answers the upgrade, or never welcomes, is left in time", async () => {
  const silent = createTcpServer(() => undefined).listen(0, "127.0.0.1");
  await once(silent, "listening");
  {
    const url = `ws://127.0.0.1:${(silent.address() as AddressInfo).port}`;
    await using worker = startWorker(url, { handshakeTimeoutMs: 30 });
    const error = () => worker.board.current.coordinator?.error;
    expect(await until("it gave up", error)).toContain("no answer within 30 ms");
  }
  silent.close();
  await using peer = await startFakeCoordinator(() => undefined);
  await using _worker = startWorker(peer.url, { helloTimeoutMs: 30 });
  await until("it connected twice", () => peer.sessions.length >= 2);
  expect(await peer.sessions[0]?.closed).toEqual({ code: 4008, reason: "no welcome within 30 ms" });
});

test("the delay grows until a welcome held, and only then starts anew", async () => {
  await using peer = await startFakeCoordinator((session, frame, position) => {
    const holds = position === 5;
    // A welcome and a single acknowledged beat are not enough: the next beat would be due in a minute.
    if (frame.t === "hello") session.send({ ...WELCOME, beatMs: holds ? 50 : 60_000 });
    else behave(session, frame);
    if (frame.t === "beat" && frame.n === (holds ? 3 : 1)) session.socket.close(1012, `drop ${position}`);
  });
  await using worker = startWorker(peer.url, { reconnect: { minMs: 1, maxMs: 4 } });
  await until("it came eight times", () => peer.sessions.length >= 8);
  const attempts = worker.lines.filter((line) => "attempt" in line).map((line) => line.attempt);
  expect(attempts.slice(0, 7)).toEqual([1, 2, 3, 4, 5, 1, 2]);
});

test("1013 and refusals wait at least half of the largest window", async () => {
  await using peer = await startFakeCoordinator((session) => session.socket.close(1013, "later"));
  await using worker = startWorker(peer.url, { reconnect: { minMs: 1, maxMs: 40 } });
  await until("it came three times", () => peer.sessions.length >= 3);
  for (const line of worker.lines.filter((line) => "delayMs" in line)) {
    expect(line.delayMs).toBeGreaterThanOrEqual(20);
  }
});

test("drain and bye reach the coordinator, which forgets the worker; the socket closes with 1000", async () => {
  await using peer = await startFakeCoordinator(behave);
  await using worker = startWorker(peer.url);
  await until("it is connected", () => worker.board.current.coordinator?.connected);
  worker.registration.drain("SIGTERM");
  await worker.registration.bye("drained");
  expect(await worker.registration.ended).toBeNull();
  const [session] = peer.sessions;
  expect((await session?.closed)?.code).toBe(1000);
  expect(session?.frames.slice(-2)).toMatchObject([
    { t: "drain", reason: "SIGTERM" },
    { t: "bye", reason: "drained" },
  ]);
  expect(peer.sessions).toHaveLength(1);

  await using real = await coordinator();
  await using other = startWorker(real.wsUrl);
  await until("it is listed", () => real.workers()[0]?.connected);
  // As the agent does it: the beats say so too, and the first may come after the drain.
  other.board.update({ state: "draining" });
  other.registration.drain("SIGTERM");
  await until("it drains", () => real.workers()[0]?.state === "draining");
  await other.registration.bye("drained");
  await until("it is forgotten", () => real.workers().length === 0);
});

test("bye ends in time while the coordinator is away, unreachable or deaf", async () => {
  await using peer = await startFakeCoordinator(behave);
  await using deaf = startWorker(peer.url);
  await until("it is connected", () => deaf.board.current.coordinator?.connected);
  peer.sessions[0]?.socket.pause();
  await using unreachable = startWorker("ws://127.0.0.1:9", { reconnect: { minMs: 60_000, maxMs: 60_000 } });
  await until("it has failed", () => unreachable.board.current.coordinator?.error);
  await using early = startWorker(peer.url);
  await Promise.all([deaf, unreachable, early].map((worker) => worker.registration.bye("stop")));
  expect(await Promise.all([deaf, unreachable, early].map((worker) => worker.registration.ended))).toEqual([
    null,
    null,
    null,
  ]);
});

test("commands reach the agent, a fault in one of them ends nothing, and offers are turned down", async () => {
  await using peer = await startFakeCoordinator(behave);
  const commands: unknown[] = [];
  await using worker = startWorker(peer.url, {
    runner: noJobs,
    onCommand(command) {
      commands.push(command);
      if (command.type === "sync") throw new Error("no sync today");
    },
  });
  await until("it is connected", () => worker.board.current.coordinator?.connected);
  const [session] = peer.sessions;
  session?.send({ t: "pause" });
  session?.send({ t: "models.sync" });
  session?.send({ t: "resume" });
  session?.send({ t: "models.ensure", models: ["a"] });
  session?.send({ t: "models.remove", models: ["b"] });
  session?.send({ t: "drain" });
  session?.send({
    ...{ t: "job.offer", jobId: "job-1", attempt: 1, lease: "l", kind: "chat", model: "m", remainingMs: 1, input: {} },
  });
  session?.send({ t: "job.cancel", jobId: "job-1", attempt: 1 });
  await until("the offer is answered", () => session?.frames.some((frame) => frame.t === "job.reject"));
  expect(commands).toEqual([
    { type: "pause" },
    { type: "sync" },
    { type: "resume" },
    { type: "ensure", models: ["a"], options: {} },
    { type: "remove", models: ["b"] },
    { type: "drain" },
  ]);
  expect(session?.frames.find((frame) => frame.t === "job.reject")).toMatchObject({
    ...{ jobId: "job-1", attempt: 1, code: "UNSUPPORTED" },
  });
  expect(peer.sessions).toHaveLength(1);
});

test.each([
  ["nothing listens", "ws://127.0.0.1:9", "ECONNREFUSED"],
  ["the name is unknown", "ws://no-such-host.invalid", /ENOTFOUND|EAI_AGAIN/],
])("where %s, the status says so", async (_, url, expected) => {
  await using worker = startWorker(url);
  const error = await until("it failed", () => worker.board.current.coordinator?.error);
  expect(error).toMatch(expected);
  expect(error).toContain("COORDINATOR_URL");
  expect(worker.lines.find((line) => line.code)?.code).toBe("COORDINATOR_UNREACHABLE");
});

test("a web server that is no coordinator is named as such", async () => {
  const web = createServer((_request, response) => response.writeHead(404).end("no")).listen(0, "127.0.0.1");
  await once(web, "listening");
  {
    await using worker = startWorker(`ws://127.0.0.1:${(web.address() as AddressInfo).port}/x`);
    const error = await until("it failed", () => worker.board.current.coordinator?.error);
    expect(error).toContain("HTTP 404");
  }
  web.close();
});

test("measurements that fail or hang do not hold up a beat", async () => {
  await using peer = await coordinator();
  await using worker = startWorker(peer.wsUrl, {
    diskFree: () => Promise.reject(new Error("gone")),
    gpuUsage: () => new Promise(() => undefined),
  });
  await until("three beats came", () => (peer.workers()[0]?.beats ?? 0) >= 3);
  expect(peer.workers()[0]?.vitals).toMatchObject({ diskFreeBytes: null, gpus: [] });
  await worker.registration.bye("stop");
});

test("registration without known hardware ends with an error", async () => {
  await using peer = await coordinator();
  await using worker = startWorker(peer.wsUrl);
  worker.board.update({ hardware: null });
  expect(await worker.registration.ended).toMatchObject({ code: "INTERNAL" });
});
