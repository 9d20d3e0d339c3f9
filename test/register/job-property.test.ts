import fc from "fast-check";
import { expect, test } from "vitest";
import { type CoordinatorFrame, coordinatorFrame, type WorkerPayload } from "../../src/protocol.ts";
import type { Connection } from "../../src/register/connection.ts";
import { type DeskSession, openJobDesk } from "../../src/register/job-desk.ts";
import { scriptedRunner } from "./scripted-runner.ts";
import { memoryOutbox, quietLog } from "./worker.ts";

type Sent<T extends WorkerPayload["t"]> = Extract<WorkerPayload, { t: T }>;

const jobId = fc.constantFrom("a", "b", "c");
const attempt = fc.integer({ min: 1, max: 4 });
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ offer: jobId, attempt }) },
  { weight: 4, arbitrary: fc.record({ chunk: jobId }) },
  { weight: 3, arbitrary: fc.record({ end: jobId, status: fc.constantFrom("done", "failed") }) },
  { weight: 1, arbitrary: fc.record({ cancel: jobId, attempt }) },
  { weight: 2, arbitrary: fc.record({ ackResult: jobId, attempt }) },
  { weight: 2, arbitrary: fc.record({ ackChunk: jobId, cs: fc.nat(5) }) },
  { weight: 2, arbitrary: fc.constant({ beat: true as const }) },
  { weight: 2, arbitrary: fc.record({ ackBeat: fc.array(jobId, { maxLength: 1 }) }) },
  { weight: 2, arbitrary: fc.record({ disconnect: fc.nat(3) }) },
  {
    weight: 3,
    arbitrary: fc.record({ connect: fc.constant(true as const), abandon: fc.array(jobId, { maxLength: 1 }) }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** A desk, and a coordinator that remembers everything it was told, over connections without a network. */
function openWorld(stubborn: boolean) {
  const runner = Object.assign(scriptedRunner({ chat: 100 }), { stubborn });
  const outbox = memoryOutbox();
  const desk = openJobDesk({ runner, outbox, log: quietLog });
  const frames: WorkerPayload[] = [];
  /** Jobs that the coordinator has taken away, with the attempt of that time. */
  const abandoned = new Set<string>();
  const acknowledged = new Set<string>();
  let session: DeskSession | null = null;
  let inSession: WorkerPayload[] = [];
  let beats = 0;
  let listed: { jobId: string; attempt: number }[] = [];
  /** Where the welcome of this session lets chunks begin. */
  let resumeAt = new Map<string, number>();

  const connection: Connection = {
    closed: new Promise(() => undefined),
    listen: () => undefined,
    send(payload) {
      const frame = typeof payload === "string" ? (JSON.parse(payload) as WorkerPayload) : payload;
      frames.push(frame);
      inSession.push(frame);
      return "sent";
    },
    congestion: () => null,
    maxFrame: 1 << 24,
    limitFrames: () => undefined,
    close: () => undefined,
    terminate: () => undefined,
  };
  const of = <T extends WorkerPayload["t"]>(type: T, list = frames) =>
    list.filter((frame): frame is Sent<T> => frame.t === type);
  const take = (frame: object) => session?.take(coordinatorFrame.parse(frame) as Parameters<DeskSession["take"]>[0]);
  const running = (jobId: string) => runner.executions.filter(({ job, over }) => job.jobId === jobId && !over);
  const beat = () => {
    if (!session) return;
    beats += 1;
    listed = session.beat(beats);
  };
  const ackBeat = (lost: string[]) => {
    for (const { jobId, attempt } of listed) if (lost.includes(jobId)) abandoned.add(`${jobId}/${attempt}`);
    session?.acknowledge({ t: "beat.ack", n: beats, renewed: [], lost });
  };
  const connect = (abandon: string[]) => {
    if (session) return;
    inSession = [];
    const { jobs } = desk.introduce();
    const resume = jobs.map(({ jobId, attempt, cs }) => {
      const verdict = abandon.includes(jobId) ? ("abandon" as const) : ("keep" as const);
      if (verdict === "abandon") abandoned.add(`${jobId}/${attempt}`);
      const had = of("job.chunk").filter((chunk) => chunk.jobId === jobId && chunk.attempt === attempt);
      return { jobId, verdict, cs: Math.min(cs, Math.max(-1, ...had.map((chunk) => chunk.cs)) + 1) };
    });
    const welcome = coordinatorFrame.parse({ t: "welcome", sessionId: "s", epoch: 1, leaseMs: 1e9, resume });
    resumeAt = new Map(jobs.map(({ jobId, attempt }, at) => [`${jobId}/${attempt}`, resume[at]!.cs]));
    session = desk.attach(connection, welcome as Extract<CoordinatorFrame, { t: "welcome" }>, performance.now());
    session.begin();
    beat();
  };
  /** The last so many results and chunks do not arrive. */
  const disconnect = (lost: number) => {
    for (let left = lost; session && left > 0 && /result|chunk/.test(inSession.at(-1)?.t ?? ""); left -= 1) {
      frames.splice(frames.lastIndexOf(inSession.pop()!), 1);
    }
    session?.detach();
    listed = [];
    session = null;
  };
  return {
    desk,
    runner,
    outbox,
    frames,
    abandoned,
    of,
    running,
    connect,
    disconnect,
    take,
    play(step: Step) {
      if ("offer" in step) {
        const ref = { jobId: step.offer, attempt: step.attempt };
        // No coordinator offers an attempt again that is settled.
        const settled = [acknowledged, abandoned].some((set) => set.has(`${ref.jobId}/${ref.attempt}`));
        if (settled) return;
        const what = { lease: `lease-${step.attempt}`, kind: "chat", model: "m", input: {}, remainingMs: 1e9 };
        take({ t: "job.offer", ...ref, ...what, stream: true });
      } else if ("chunk" in step) for (const { onChunk } of running(step.chunk)) onChunk("piece");
      else if ("end" in step) for (const { end } of running(step.end)) end({ status: step.status as "done" });
      else if ("cancel" in step) take({ t: "job.cancel", jobId: step.cancel, attempt: step.attempt });
      else if ("ackResult" in step) {
        const known = of("job.result").some((sent) => sent.jobId === step.ackResult && sent.attempt === step.attempt);
        if (known) acknowledged.add(`${step.ackResult}/${step.attempt}`);
        if (known) take({ t: "result.ack", jobId: step.ackResult, attempt: step.attempt });
      } else if ("ackChunk" in step) take({ t: "chunk.ack", jobId: step.ackChunk, attempt: 1, cs: step.cs });
      else if ("beat" in step) beat();
      else if ("ackBeat" in step) ackBeat(step.ackBeat);
      else if ("connect" in step) connect(step.abandon);
      else disconnect(step.disconnect);
    },
    /** Chunks of an attempt come without a gap, within a session. */
    expectOrder() {
      for (const [ref, chunks] of Map.groupBy(
        of("job.chunk", inSession),
        ({ jobId, attempt }) => `${jobId}/${attempt}`,
      )) {
        const begin = resumeAt.get(ref) ?? 0;
        expect(chunks.map(({ cs }) => cs)).toEqual(chunks.map((_, position) => begin + position));
      }
    },
  };
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test("any sequence of events leaves each job with one execution at most, and one outcome", async () => {
  const run = async (script: Step[], stubborn: boolean) => {
    const world = openWorld(stubborn);
    world.connect([]);
    for (const each of script) {
      world.play(each);
      await turn();
      for (const id of ["a", "b", "c"]) expect(world.running(id).length).toBeLessThanOrEqual(1);
      world.expectOrder();
    }
    // Everything comes to its end.
    world.disconnect(0);
    world.connect([]);
    for (const id of ["a", "b", "c"]) for (const { end } of world.running(id)) end();
    await turn();
    const accepted = new Set(world.of("job.accept").map(({ jobId, attempt }) => `${jobId}/${attempt}`));
    const outcomes = Map.groupBy(world.of("job.result"), ({ jobId, attempt }) => `${jobId}/${attempt}`);
    // Nobody hears of a job that was never accepted, and of an attempt there is one outcome, however often it is sent …
    for (const [ref, results] of outcomes) {
      expect(accepted).toContain(ref);
      const kinds = new Set(results.map(({ status }) => status));
      const runs = world.of("job.accept").filter(({ jobId, attempt }) => `${jobId}/${attempt}` === ref).length;
      expect(kinds.size).toBeLessThanOrEqual(runs);
      if (runs === 1) expect(kinds.size).toBe(1);
    }
    // … and the newest attempt of each job has one, unless the coordinator took it away.
    for (const id of ["a", "b", "c"]) {
      const newest = Math.max(
        ...[...accepted].filter((ref) => ref.startsWith(id)).map((ref) => Number(ref.split("/")[1])),
      );
      if (newest > 0 && !world.abandoned.has(`${id}/${newest}`))
        expect([...outcomes.keys()]).toContain(`${id}/${newest}`);
    }
    for (const { jobId, attempt } of [...world.outbox.waiting.values()]) {
      expect([...outcomes.keys()]).toContain(`${jobId}/${attempt}`);
      world.take({ t: "result.ack", jobId, attempt });
    }
    expect(world.outbox.waiting.size).toBe(0);
    expect(world.desk.introduce().jobs).toEqual([]);
    world.disconnect(0);
  };
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), fc.boolean(), run), {
    numRuns: 2_000,
  });
});
