import { expect, test } from "vitest";
import { until } from "../until.ts";
import { startJobCoordinator } from "./job-coordinator.ts";
import { type ScriptedRunner, scriptedRunner } from "./scripted-runner.ts";
import { startWorker } from "./worker.ts";

const execution = (runner: ScriptedRunner, position = 0) =>
  until(`execution ${position} began`, () => runner.executions[position]);

test("the same attempt again is accepted again, and runs once", async () => {
  await using peer = await startJobCoordinator();
  const runner = scriptedRunner();
  await using worker = startWorker(peer.url, { runner });
  const session = await peer.session();
  session.offer();
  session.offer();
  await session.nth("job.accept", 2);
  expect(runner.executions).toHaveLength(1);
  (await execution(runner)).end();
  await session.nth("job.result");
  // Its result waits for the acknowledgement, and is sent again for the asking.
  session.offer();
  await session.nth("job.accept", 3);
  expect(await session.nth("job.result", 2)).toMatchObject({ jobId: "job-1", attempt: 1, status: "done" });
  expect(runner.executions).toHaveLength(1);
  session.send({ t: "result.ack", jobId: "job-1", attempt: 1 });
  await until("the outbox is empty", () => worker.outbox.waiting.size === 0);
});

test("a higher attempt takes over the running work: chunks anew from 0, one result; a lower one is stale", async () => {
  await using peer = await startJobCoordinator();
  const runner = scriptedRunner();
  await using _worker = startWorker(peer.url, { runner });
  const session = await peer.session();
  session.offer({ attempt: 2, lease: "lease-2" });
  const { onChunk, end } = await execution(runner);
  onChunk("a");
  onChunk("b");
  await session.nth("job.chunk", 2);
  session.offer({ attempt: 3, lease: "lease-3" });
  await session.nth("job.chunk", 4);
  session.offer({ attempt: 2 });
  expect(await session.nth("job.reject")).toMatchObject({ attempt: 2, code: "STALE_ATTEMPT" });
  // Of the attempt that is no more: without effect.
  session.send({ t: "job.cancel", jobId: "job-1", attempt: 2 });
  session.send({ t: "chunk.ack", jobId: "job-1", attempt: 2, cs: 1 });
  await until("a beat tells", () => session.all("beat").some(({ jobs }) => jobs[0]?.attempt === 3));
  onChunk("c");
  end();
  expect(await session.nth("job.result")).toMatchObject({ attempt: 3, status: "done" });
  expect(session.all("job.chunk").map(({ attempt, cs, delta }) => [attempt, cs, delta])).toEqual([
    [2, 0, "a"],
    [2, 1, "b"],
    [3, 0, "a"],
    [3, 1, "b"],
    [3, 2, "c"],
  ]);
  expect(session.all("job.accept").map(({ attempt }) => attempt)).toEqual([2, 3]);
  expect(runner.executions).toHaveLength(1);
  session.offer({ attempt: 2 });
  expect(await session.nth("job.reject", 2)).toMatchObject({ code: "STALE_ATTEMPT" });
});

test("where chunks were freed already, a higher attempt gets the result only", async () => {
  await using peer = await startJobCoordinator();
  const runner = scriptedRunner();
  await using _worker = startWorker(peer.url, { runner });
  const session = await peer.session();
  session.offer();
  const { onChunk, end } = await execution(runner);
  onChunk("a");
  await session.nth("job.chunk");
  session.send({ t: "chunk.ack", jobId: "job-1", attempt: 1, cs: 0 });
  session.offer({ attempt: 2 });
  await session.nth("job.accept", 2);
  onChunk("b");
  end();
  expect(await session.nth("job.result")).toMatchObject({ attempt: 2, status: "done" });
  expect(session.all("job.chunk")).toHaveLength(1);
});

test("a later attempt takes the deadline of its offer", async () => {
  await using peer = await startJobCoordinator();
  const runner = scriptedRunner();
  await using _worker = startWorker(peer.url, { runner });
  const session = await peer.session();
  session.offer({ remainingMs: Number.MAX_SAFE_INTEGER });
  session.offer({ attempt: 2, remainingMs: 20 });
  expect(await session.nth("job.result")).toMatchObject({ attempt: 2, error: { code: "TIMEOUT" } });
});

test("a later attempt at a job that is done gets its result; at one that failed, the work is done anew", async () => {
  await using peer = await startJobCoordinator();
  const runner = scriptedRunner();
  await using worker = startWorker(peer.url, { runner });
  const session = await peer.session();
  session.offer({ jobId: "done" });
  (await execution(runner, 0)).end({ output: { n: 1 } });
  const first = await session.nth("job.result", 1, "done");
  session.offer({ jobId: "done", attempt: 2 });
  const second = await session.nth("job.result", 2, "done");
  expect(second).toMatchObject({ attempt: 2, status: "done", output: { n: 1 }, sha256: first.sha256 });
  expect(runner.executions).toHaveLength(1);
  // The acknowledgement of the first comes late, and is not one of the second.
  session.send({ t: "result.ack", jobId: "done", attempt: 1 });

  session.offer({ jobId: "failed" });
  const error = { code: "OUT_OF_MEMORY", message: "no room", retryable: true } as const;
  (await execution(runner, 1)).end({ status: "failed", output: undefined, error });
  await session.nth("job.result", 1, "failed");
  expect([...worker.outbox.waiting.values()].map(({ jobId, attempt }) => [jobId, attempt])).toEqual([
    ["done", 2],
    ["failed", 1],
  ]);
  session.offer({ jobId: "failed", attempt: 2 });
  (await execution(runner, 2)).end();
  expect(await session.nth("job.result", 2, "failed")).toMatchObject({ attempt: 2, status: "done" });
});

test("beside work that is ending nothing begins: a later attempt is told BUSY until it has ended", async () => {
  await using peer = await startJobCoordinator();
  const runner = Object.assign(scriptedRunner(), { stubborn: true });
  await using _worker = startWorker(peer.url, { runner });
  const session = await peer.session();
  session.offer();
  const first = await execution(runner);
  session.send({ t: "job.cancel", jobId: "job-1", attempt: 1 });
  session.offer({ attempt: 2 });
  expect(await session.nth("job.reject")).toMatchObject({ attempt: 2, code: "BUSY" });
  first.end({ status: "cancelled", output: undefined });
  await session.nth("job.result");
  session.offer({ attempt: 2 });
  (await execution(runner, 1)).end();
  expect(await session.nth("job.result", 2)).toMatchObject({ attempt: 2, status: "done" });
});
