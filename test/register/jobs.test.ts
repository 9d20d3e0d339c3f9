import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { until } from "../until.ts";
import { type JobSession, startJobCoordinator } from "./job-coordinator.ts";
import { noJobs } from "./no-jobs.ts";
import { type ScriptedRunner, scriptedRunner } from "./scripted-runner.ts";
import { startWorker } from "./worker.ts";

const execution = (runner: ScriptedRunner, position = 0) =>
  until(`execution ${position} began`, () => runner.executions[position]);

test("a job from its offer to the acknowledgement of its result", async () => {
  await using peer = await startJobCoordinator();
  const runner = scriptedRunner({ chat: 2, embedding: 3 });
  await using worker = startWorker(peer.url, { runner });
  const session = await peer.session();
  expect(session.hello).toMatchObject({ slots: { chat: 2, embedding: 3 }, jobs: [], results: [] });
  await session.nth("credit", 2);
  expect(session.all("credit").map(({ kind, n }) => [kind, n])).toEqual([
    ["chat", 2],
    ["embedding", 3],
  ]);

  session.offer({ input: { messages: ["hi"] } });
  expect(await session.nth("job.accept")).toMatchObject({ jobId: "job-1", attempt: 1 });
  expect(await session.nth("credit", 3)).toMatchObject({ kind: "chat", n: 1 });
  const { job, onChunk, end } = await execution(runner);
  expect(job).toEqual({
    ...{ jobId: "job-1", attempt: 1, kind: "chat", model: "tiny", input: { messages: ["hi"] } },
    ...{ remainingMs: 60_000, stream: true },
  });
  for (const delta of ["a", { b: 1 }, null]) expect(onChunk(delta)).toBeNull();
  const output = { text: "a  \u2028", list: [1, 0.5] };
  end({ output, usage: { total_tokens: 3 }, timings: { total_ms: 1.5, lost_ms: Number.NaN } });
  const result = await session.nth("job.result");
  expect(session.all("job.chunk").map(({ cs, delta }) => [cs, delta])).toEqual([
    [0, "a"],
    [1, { b: 1 }],
    [2, null],
  ]);
  expect(result).toMatchObject({
    ...{ jobId: "job-1", attempt: 1, status: "done", output, usage: { total_tokens: 3 }, timings: { total_ms: 1.5 } },
    sha256: createHash("sha256").update(JSON.stringify(output)).digest("hex"),
  });
  expect(session.frames.findIndex(({ t }) => t === "job.result")).toBeGreaterThan(
    session.frames.findLastIndex(({ t }) => t === "job.chunk"),
  );
  expect(await session.nth("credit", 4)).toMatchObject({ kind: "chat", n: 2 });
  expect([...worker.outbox.waiting.keys()]).toEqual(["job-1"]);
  session.send({ t: "result.ack", jobId: "job-1", attempt: 1 });
  await until("the outbox is empty", () => worker.outbox.waiting.size === 0);
  // Prompts and answers are nobody else's business.
  expect(JSON.stringify(worker.lines)).not.toContain("\u2028");
});

test("credit is told again after each job that was accepted, also where none was taken meanwhile", async () => {
  await using peer = await startJobCoordinator();
  const runner = scriptedRunner();
  const { start } = runner;
  // Over before anything is told: what the engine cannot be asked is refused at once.
  runner.start = (job, calls) => {
    const outcome = start(job, calls);
    runner.executions.at(-1)?.end({ status: "failed" });
    return outcome;
  };
  await using worker = startWorker(peer.url, { runner });
  const session = await peer.session();
  await session.nth("credit");
  for (const position of [1, 2]) {
    session.offer({ jobId: `job-${position}` });
    await session.nth("job.result", position);
    expect(await session.nth("credit", position + 1)).toMatchObject({ kind: "chat", n: 2 });
  }
  // What was done before, and waits for its acknowledgement, is offered again.
  expect(worker.outbox.waiting.size).toBe(2);
  session.offer({ jobId: "job-1" });
  expect(await session.nth("credit", 4)).toMatchObject({ kind: "chat", n: 2 });
  expect(runner.executions).toHaveLength(2);
});

test("beats list the jobs in flight, and tell free slots", async () => {
  await using peer = await startJobCoordinator();
  const runner = scriptedRunner();
  await using _worker = startWorker(peer.url, { runner });
  const session = await peer.session();
  session.offer();
  const beat = await until("a beat lists it", () => session.all("beat").find(({ jobs }) => jobs.length > 0));
  expect(beat).toMatchObject({ jobs: [{ jobId: "job-1", attempt: 1 }], slotsFree: { chat: 1 } });
  (await execution(runner)).end();
  await until("a beat does not", () => session.all("beat").at(-1)?.jobs.length === 0);
});

test("the answer in pieces only goes to those who asked for it", async () => {
  await using peer = await startJobCoordinator();
  const runner = scriptedRunner();
  await using _worker = startWorker(peer.url, { runner });
  const session = await peer.session();
  session.offer({ stream: false });
  const { onChunk, end } = await execution(runner);
  expect(onChunk("piece")).toBeNull();
  end();
  await session.nth("job.result");
  expect(session.all("job.chunk")).toEqual([]);
});

test.each([
  ["what the runner says", "MODEL_NOT_READY", {}, "MODEL_NOT_READY"],
  ["INTERNAL where it fails to start", new Error("broken"), {}, "INTERNAL"],
  ["TIMEOUT where no time is left", null, { remainingMs: 0 }, "TIMEOUT"],
  ["BUSY where no slot is free", null, { kind: "ocr" }, "BUSY"],
] as const)("an offer is rejected with %s", async (_, refuse, change, code) => {
  await using peer = await startJobCoordinator();
  const runner = Object.assign(scriptedRunner(), { refuse });
  await using _worker = startWorker(peer.url, { runner });
  const session = await peer.session();
  session.offer(change);
  expect(await session.nth("job.reject")).toMatchObject({ jobId: "job-1", attempt: 1, code });
  expect(runner.executions).toEqual([]);
});

test("a worker that serves nothing says UNSUPPORTED and gives no credit", async () => {
  await using peer = await startJobCoordinator();
  await using _worker = startWorker(peer.url, { runner: noJobs });
  const session = await peer.session();
  session.offer();
  expect(await session.nth("job.reject")).toMatchObject({ code: "UNSUPPORTED" });
  expect([session.hello.slots, session.all("credit")]).toEqual([{}, []]);
});

test("a job that is cancelled, or runs over its time, tells so", async () => {
  await using peer = await startJobCoordinator();
  const runner = scriptedRunner();
  await using _worker = startWorker(peer.url, { runner });
  const session = await peer.session();
  session.offer({ jobId: "long" });
  session.offer({ jobId: "late", remainingMs: 30 });
  expect(await session.nth("job.result", 1, "late")).toMatchObject({
    status: "failed",
    error: { code: "TIMEOUT", retryable: false },
  });
  // Of another attempt, and of a job that is none.
  session.send({ t: "job.cancel", jobId: "long", attempt: 7 });
  session.send({ t: "job.cancel", jobId: "__proto__", attempt: 1 });
  expect(runner.executions[0]?.signal.aborted).toBe(false);
  session.send({ t: "job.cancel", jobId: "long", attempt: 1 });
  expect(await session.nth("job.result", 1, "long")).toMatchObject({
    status: "cancelled",
    error: { code: "CANCELLED", retryable: false },
  });
});

test("what the runner throws, or cannot be put into JSON, is a failure and harms nobody", async () => {
  await using peer = await startJobCoordinator();
  const runner = scriptedRunner();
  await using _worker = startWorker(peer.url, { runner });
  const session = await peer.session();
  session.offer();
  const circle: Record<string, unknown> = { prompt: "secret" };
  circle.self = circle;
  (await execution(runner)).end({ output: circle });
  const result = await session.nth("job.result");
  expect(result).toMatchObject({ status: "failed", error: { code: "INTERNAL" } });
  expect(JSON.stringify(result)).not.toContain("secret");
});

test("a result or a chunk over maxFrame is not sent: the first fails, the second ends the chunks", async () => {
  await using peer = await startJobCoordinator({ welcome: () => ({ maxFrame: 2048 }) });
  const runner = scriptedRunner();
  await using _worker = startWorker(peer.url, { runner });
  const session = await peer.session();
  session.offer();
  const { onChunk, end } = await execution(runner);
  for (const delta of ["small", "x".repeat(4096), "small"]) onChunk(delta);
  end({ output: "x".repeat(4096) });
  expect(await session.nth("job.result")).toMatchObject({
    status: "failed",
    error: { code: "PAYLOAD_TOO_LARGE", retryable: false },
  });
  expect(session.all("job.chunk").map(({ delta }) => delta)).toEqual(["small"]);
});

/** Chunks of many jobs, since each may keep 4 MiB only and the system takes some into buffers of its own. */
async function fillSocket(session: JobSession, runner: ScriptedRunner) {
  for (let position = 0; position < 20; position += 1) {
    session.offer({ jobId: `job-${position}` });
    const { onChunk } = await execution(runner, position);
    for (let sent = 0; sent < 35; sent += 1) {
      const pause = onChunk("x".repeat(100_000));
      if (pause) return { pause, sent: position * 35 + sent + 1, onChunk };
    }
  }
  throw new Error("The engine was never paused");
}

const SLOW_BEATS = { welcome: () => ({ beatMs: 60_000 }) };

test("a peer that does not read pauses the engine, and one that reads again lets it go on", async () => {
  await using peer = await startJobCoordinator(SLOW_BEATS);
  const runner = scriptedRunner({ chat: 20, embedding: 1 });
  await using worker = startWorker(peer.url, { runner });
  const session = await peer.session();
  session.socket.pause();
  const { pause, sent } = await fillSocket(session, runner);
  let resumed = false;
  pause.then(() => {
    resumed = true;
  });
  // The frame loop goes on meanwhile.
  session.offer({ jobId: "other", kind: "embedding" });
  await until("another job began", () => runner.executions.some(({ job }) => job.jobId === "other"));
  expect(resumed).toBe(false);
  session.socket.resume();
  await pause;
  for (const { end } of runner.executions) end();
  await session.nth("job.result", runner.executions.length);
  expect(session.all("job.chunk")).toHaveLength(sent);
  for (const { job } of runner.executions) {
    const chunks = session.all("job.chunk", job.jobId);
    expect(chunks.map(({ cs }) => cs)).toEqual(chunks.map((_, cs) => cs));
  }
  expect(worker.board.current.coordinator?.connected).toBe(true);
});

test("a paused engine goes on when the socket is gone", async () => {
  await using peer = await startJobCoordinator(SLOW_BEATS);
  const runner = scriptedRunner({ chat: 20 });
  await using _worker = startWorker(peer.url, { runner, reconnect: { minMs: 60_000, maxMs: 60_000 } });
  const session = await peer.session();
  session.socket.pause();
  const { pause, onChunk } = await fillSocket(session, runner);
  session.socket.terminate();
  await pause;
  expect(onChunk("more")).toBeNull();
});
