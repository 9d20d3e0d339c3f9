import { expect, test } from "vitest";
import { until } from "../until.ts";
import { startJobCoordinator } from "./job-coordinator.ts";
import { type ScriptedRunner, scriptedRunner } from "./scripted-runner.ts";
import { startWorker } from "./worker.ts";

const execution = (runner: ScriptedRunner, position = 0) =>
  until(`execution ${position} began`, () => runner.executions[position]);

test("draining: credits go to 0, offers are turned away, jobs end, results are acknowledged, then bye", async () => {
  await using peer = await startJobCoordinator();
  const runner = scriptedRunner();
  await using worker = startWorker(peer.url, { runner, drainTimeoutMs: 60_000 });
  const session = await peer.session();
  session.offer();
  const { end, signal } = await execution(runner);
  const drained = worker.registration.drain("told to stop").then(() => "drained");
  await until("no more credit", () => session.all("credit").at(-1)?.n === 0);
  session.offer({ jobId: "job-2" });
  expect(await session.nth("job.reject")).toMatchObject({ jobId: "job-2", code: "DRAINING" });
  // A later attempt of what runs is no new work.
  session.offer({ attempt: 2 });
  await session.nth("job.accept", 2);
  const beat = session.all("beat").length;
  expect(await session.nth("beat", beat + 2)).toMatchObject({ slotsFree: {}, jobs: [{ jobId: "job-1", attempt: 2 }] });
  expect(signal.aborted).toBe(false);
  end();
  await session.nth("job.result");
  session.send({ t: "result.ack", jobId: "job-1", attempt: 2 });
  expect(await drained).toBe("drained");
  await worker.registration.bye("stopped");
  expect(session.frames.map(({ t }) => t).filter((t) => ["drain", "job.result", "bye"].includes(t))).toEqual([
    ...["drain", "job.result", "bye"],
  ]);
});

test.each([
  ["DRAIN_TIMEOUT", { drainTimeoutMs: 30 }, false],
  ["the second signal", { drainTimeoutMs: 60_000 }, true],
])("what runs is given back after %s, retryable", async (_, options, second) => {
  await using peer = await startJobCoordinator();
  const runner = scriptedRunner();
  await using worker = startWorker(peer.url, { runner, ...options });
  const session = await peer.session();
  session.offer();
  await execution(runner);
  const drained = worker.registration.drain("told to stop");
  if (second) worker.registration.release();
  expect(await session.nth("job.result")).toMatchObject({
    status: "failed",
    error: { code: "DRAINING", retryable: true },
  });
  session.send({ t: "result.ack", jobId: "job-1", attempt: 1 });
  await drained;
  expect(worker.outbox.waiting.size).toBe(0);
});

test("draining ends without the coordinator, too: results stay in the outbox", async () => {
  const peer = await startJobCoordinator();
  const runner = scriptedRunner();
  await using worker = startWorker(peer.url, { runner, drainTimeoutMs: 60_000 });
  const session = await peer.session();
  session.offer();
  const { end } = await execution(runner);
  const drained = worker.registration.drain("told to stop");
  await peer[Symbol.asyncDispose]();
  end();
  await drained;
  await worker.registration.bye("stopped");
  expect([...worker.outbox.waiting.keys()]).toEqual(["job-1"]);
});

test("draining ends where neither the work nor the coordinator does", async () => {
  await using peer = await startJobCoordinator();
  const runner = Object.assign(scriptedRunner(), { stubborn: true });
  await using worker = startWorker(peer.url, { runner, drainTimeoutMs: 30 });
  const session = await peer.session();
  session.offer();
  const { end } = await execution(runner);
  await worker.registration.drain("told to stop");
  end();
});
