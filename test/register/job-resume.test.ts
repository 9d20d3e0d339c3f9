import { expect, test } from "vitest";
import { until } from "../until.ts";
import { startJobCoordinator } from "./job-coordinator.ts";
import { type ScriptedRunner, scriptedRunner } from "./scripted-runner.ts";
import { startWorker } from "./worker.ts";

const execution = (runner: ScriptedRunner, position = 0) =>
  until(`execution ${position} began`, () => runner.executions[position]);
const reasonOf = (signal: AbortSignal) => (signal.reason as { code?: string } | undefined)?.code;

test("the socket drops: the job runs on, and its chunks go on where the coordinator says", async () => {
  const gate = Promise.withResolvers<void>();
  await using peer = await startJobCoordinator({
    gate: (position) => (position === 1 ? gate.promise : null),
    welcome: (hello) => ({ resume: hello.jobs.map(({ jobId }) => ({ jobId, verdict: "keep", cs: 1 })) }),
  });
  const runner = scriptedRunner();
  await using _worker = startWorker(peer.url, { runner });
  const before = await peer.session();
  before.offer();
  const { onChunk, end, signal } = await execution(runner);
  onChunk("a");
  onChunk("b");
  await before.nth("job.chunk", 2);
  before.send({ t: "chunk.ack", jobId: "job-1", attempt: 1, cs: 0 });
  before.socket.terminate();
  await until("it is back", () => peer.sessions[1]?.frames.length);
  expect(onChunk("c")).toBeNull();
  gate.resolve();
  const session = await peer.session(2);
  expect(session.hello.jobs).toEqual([{ jobId: "job-1", attempt: 1, lease: "lease-1", cs: expect.any(Number) }]);
  onChunk("d");
  end();
  expect(await session.nth("job.result")).toMatchObject({ attempt: 1, status: "done" });
  expect(session.all("job.chunk").map(({ cs, delta }) => [cs, delta])).toEqual([
    [1, "b"],
    [2, "c"],
    [3, "d"],
  ]);
  expect(signal.aborted).toBe(false);
  expect(await session.nth("credit", 2)).toMatchObject({ kind: "chat", n: 2 });
});

test("a job that ends while there is no session: its result is announced, and sent after the welcome", async () => {
  const gate = Promise.withResolvers<void>();
  await using peer = await startJobCoordinator({ gate: (position) => (position === 1 ? gate.promise : null) });
  const runner = scriptedRunner();
  await using worker = startWorker(peer.url, { runner });
  const before = await peer.session();
  before.offer();
  const { end } = await execution(runner);
  before.socket.terminate();
  await until("it is back", () => peer.sessions[1]?.frames.length);
  end();
  await until("it is over", () => worker.outbox.waiting.size === 1);
  gate.resolve();
  const session = await peer.session(2);
  await session.nth("job.result");
  // Without an acknowledgement it comes again with every session.
  session.socket.terminate();
  const third = await peer.session(3);
  expect(third.hello).toMatchObject({ jobs: [], results: [{ jobId: "job-1", attempt: 1 }] });
  await third.nth("job.result");
  third.send({ t: "result.ack", jobId: "job-1", attempt: 1 });
  await until("the outbox is empty", () => worker.outbox.waiting.size === 0);
});

test("chunks that the coordinator lacks and the ring has no more: the result alone", async () => {
  await using peer = await startJobCoordinator({
    welcome: (hello) => ({ resume: hello.jobs.map(({ jobId }) => ({ jobId, verdict: "keep", cs: 0 })) }),
  });
  const runner = scriptedRunner();
  await using _worker = startWorker(peer.url, { runner });
  const before = await peer.session();
  before.offer();
  const { onChunk, end } = await execution(runner);
  onChunk("a");
  await before.nth("job.chunk");
  before.send({ t: "chunk.ack", jobId: "job-1", attempt: 1, cs: 0 });
  before.send({ t: "reconnect" });
  const session = await peer.session(2);
  onChunk("b");
  end();
  await session.nth("job.result");
  expect(session.all("job.chunk")).toEqual([]);
});

test.each([
  ["abandons", [{ jobId: "job-1", verdict: "abandon" as const }]],
  ["does not name", []],
])("a job that the welcome %s is given up, and its outcome goes nowhere", async (_, resume) => {
  await using peer = await startJobCoordinator({ welcome: () => ({ resume }) });
  const runner = Object.assign(scriptedRunner(), { stubborn: true });
  await using worker = startWorker(peer.url, { runner });
  const before = await peer.session();
  before.offer();
  const { signal, end } = await execution(runner);
  before.socket.terminate();
  const session = await peer.session(2);
  expect(session.hello.jobs).toMatchObject([{ jobId: "job-1" }]);
  expect(reasonOf(signal)).toBe("LEASE_LOST");
  expect(session.all("beat")[0]?.jobs).toEqual([]);
  // It has not ended yet, so that nothing may begin beside it.
  session.offer();
  expect(await session.nth("job.reject")).toMatchObject({ code: "BUSY" });
  end();
  session.offer({ attempt: 2 });
  (await execution(runner, 1)).end();
  expect(await session.nth("job.result")).toMatchObject({ attempt: 2 });
  expect([...worker.outbox.waiting.values()]).toMatchObject([{ attempt: 2 }]);
});

test("a lease that the coordinator calls lost ends its job", async () => {
  const lost: string[] = [];
  await using peer = await startJobCoordinator({ lost: () => lost });
  const runner = scriptedRunner();
  await using worker = startWorker(peer.url, { runner });
  const session = await peer.session();
  session.offer({ jobId: "kept" });
  session.offer({ jobId: "taken" });
  const { signal } = await execution(runner, 1);
  lost.push("taken", "never heard of");
  await until("it is given up", () => signal.aborted);
  expect(reasonOf(signal)).toBe("LEASE_LOST");
  expect(runner.executions[0]?.signal.aborted).toBe(false);
  expect(session.all("job.result")).toEqual([]);
  expect(worker.outbox.waiting.size).toBe(0);
});

test("a lease runs out by this worker's own clock: while there is no coordinator …", async () => {
  const runner = scriptedRunner();
  const peer = await startJobCoordinator({ welcome: () => ({ beatMs: 100, leaseMs: 1_000 }) });
  await using worker = startWorker(peer.url, { runner });
  const session = await peer.session();
  session.offer();
  const { signal } = await execution(runner);
  // Acknowledged beats keep it for longer than one lease.
  const beats = session.all("beat").length;
  await session.nth("beat", beats + 15);
  expect(signal.aborted).toBe(false);
  await peer[Symbol.asyncDispose]();
  await until("it is given up", () => signal.aborted);
  expect(reasonOf(signal)).toBe("LEASE_LOST");
  expect(worker.outbox.waiting.size).toBe(0);
});

test("… and while one acknowledges nothing", async () => {
  await using peer = await startJobCoordinator({ welcome: () => ({ leaseMs: 60 }), mute: () => true });
  const runner = scriptedRunner();
  await using _worker = startWorker(peer.url, { runner });
  const session = await peer.session();
  session.offer();
  const { signal } = await execution(runner);
  await until("it is given up", () => signal.aborted);
  expect(reasonOf(signal)).toBe("LEASE_LOST");
});

test("a worker that is superseded gives its jobs up", async () => {
  await using peer = await startJobCoordinator();
  const runner = scriptedRunner();
  await using worker = startWorker(peer.url, { runner });
  const session = await peer.session();
  session.offer();
  const { signal } = await execution(runner);
  session.socket.close(4009, "newer");
  expect(await worker.registration.ended).toMatchObject({ code: "SUPERSEDED" });
  expect(reasonOf(signal)).toBe("LEASE_LOST");
});
