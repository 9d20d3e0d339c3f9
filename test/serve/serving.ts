import type { Job, JobCalls, JobOutcome, Slots } from "../../src/job.ts";
import type { ModelSpec, Source, Task } from "../../src/model.ts";
import type { JobErrorCode } from "../../src/protocol.ts";
import { createJobServer, type JobServerOptions } from "../../src/serve/job-server.ts";
import { createStatusBoard } from "../../src/status.ts";
import { keptLog } from "../register/worker.ts";
import { FakeEngine } from "./fake-engine.ts";

/** A chosen model; what jobs do not depend on is left out. */
export function modelSpec(
  id: string,
  { task = "chat", slots = null, source = "huggingface", location = `acme/${id}` }: Partial<Spec> = {},
): ModelSpec {
  return { id, task, slots, required: true, variant: { source, location } } as ModelSpec;
}

interface Spec {
  task: Task;
  slots: number | null;
  source: Source;
  location: string;
}

/** A job server whose models, ready, are all on one fake engine. */
export function serving({
  slots = { chat: 2 },
  models = [modelSpec("tiny")],
  engine = new FakeEngine(),
  ...options
}: Partial<JobServerOptions> & { models?: ModelSpec[]; engine?: FakeEngine; slots?: Slots } = {}) {
  const board = createStatusBoard({ version: "1", workerId: "w", bootId: "b", workerType: "t" });
  const { log, lines } = keptLog();
  const server = createJobServer({
    board,
    log,
    slots,
    logPayloads: false,
    engineOf: (id) => {
      const spec = models.find((model) => model.id === id);
      return spec ? { engine, model: { id, task: spec.task, name: spec.variant.location, context: null } } : null;
    },
    ...options,
  });
  for (const { id } of models) board.setModel(id, { state: "ready" });
  board.update({ state: "syncing" });
  server.serve(models, slots);
  return { board, server, engine, lines, log };
}

export const CHAT = { messages: [{ role: "user", content: "Hi" }] };

export function chatJob(change: Partial<Job> = {}): Job {
  return {
    jobId: crypto.randomUUID(),
    attempt: 1,
    kind: "chat",
    model: "tiny",
    input: CHAT,
    remainingMs: 600_000,
    stream: false,
    ...change,
  };
}

/** Calls that nobody aborts, with the pieces that came. */
export function calls(change: Partial<JobCalls> = {}) {
  const chunks: unknown[] = [];
  const onChunk = (delta: unknown) => {
    chunks.push(delta);
    return null;
  };
  return { chunks, onChunk, signal: new AbortController().signal, ...change };
}

/** The promise of a job that has to be taken. */
export function taken(started: JobErrorCode | Promise<JobOutcome>): Promise<JobOutcome> {
  if (typeof started === "string") throw new Error(`The job was turned away: ${started}`);
  return started;
}
