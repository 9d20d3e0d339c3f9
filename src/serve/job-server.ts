import type { Job, JobCalls, JobOutcome, JobRunner, Slots } from "../job.ts";
import type { Logger } from "../log.ts";
import { type JobKind, type ModelSpec, takesKind } from "../model.ts";
import type { JobErrorCode } from "../protocol.ts";
import type { RunningJob, StatusBoard } from "../status.ts";
import { JOB_LIMITS, type JobLimits } from "./limits.ts";
import { logJob } from "./log-job.ts";
import { type EngineOfModel, runJob } from "./run-job.ts";
import { findModel } from "./served-models.ts";

export interface JobServerOptions {
  board: StatusBoard;
  log: Logger;
  /** Of the worker type. */
  slots: Slots;
  /** By catalog id; null where no engine for it is configured. */
  engineOf: (modelId: string) => EngineOfModel | null;
  /** Prompts and answers may stand in the log. */
  logPayloads: boolean;
  limits?: JobLimits;
}

/** Runs jobs on the engines, as many at once as there are slots. What runs stands on the status board. */
export interface JobServer extends JobRunner {
  /** The models that were chosen, and the slots of the worker type that they are of. Until then it takes nothing. */
  serve(models: readonly ModelSpec[], slots: Slots): void;
  /** The first model that takes jobs of this kind, of those that are ready where there are any. */
  modelFor(kind: JobKind): string | null;
  /** Settles as soon as no job runs. */
  idle(): Promise<void>;
  close(): void;
}

export function createJobServer(options: JobServerOptions): JobServer {
  const { board, log, engineOf, logPayloads, limits = JOB_LIMITS } = options;
  let models: readonly ModelSpec[] = [];
  let slots = options.slots;
  let told = "";
  const listeners = new Set<() => void>();

  const isReady = ({ id }: ModelSpec) =>
    board.current.models.some((model) => model.id === id && model.state === "ready") && engineOf(id) !== null;
  const running = (which: (job: RunningJob) => boolean) => board.current.jobs.filter(which).length;
  const freeOfKind = (kind: JobKind) => Math.max(0, (slots[kind] ?? 0) - running((job) => job.kind === kind));
  const freeOfModel = ({ id, slots: own }: ModelSpec) =>
    Math.max(0, (own ?? Number.POSITIVE_INFINITY) - running(({ model }) => model === id));
  const freeSlots = (kind: JobKind) => {
    const able = models.filter((model) => takesKind(model, kind) && isReady(model));
    return board.current.ready
      ? Math.min(
          freeOfKind(kind),
          able.reduce((sum, model) => sum + freeOfModel(model), 0),
        )
      : 0;
  };
  /** Without those that no model here takes, once that is known: a job of such a kind would come in vain. */
  const kinds = () =>
    (Object.keys(slots) as JobKind[]).filter(
      (kind) => models.length === 0 || models.some((model) => takesKind(model, kind)),
    );
  const slotsFree = (): Slots => Object.fromEntries(kinds().map((kind) => [kind, freeSlots(kind)]));

  /** The model that takes the job now, or why none does. */
  const admit = ({ kind, model }: Job): JobErrorCode | ModelSpec => {
    const { state, ready, lostGpus } = board.current;
    if (state === "draining" || state === "stopped") return "DRAINING";
    if (models.length === 0) return "MODEL_NOT_READY";
    const found = slots[kind] ? findModel(models, model, kind) : null;
    if (!found) return "UNSUPPORTED";
    if (!isReady(found)) return "MODEL_NOT_READY";
    if (lostGpus.length > 0) return "GPU_LOST";
    if (!ready) return state === "paused" ? "BUSY" : "MODEL_NOT_READY";
    return freeOfKind(kind) > 0 && freeOfModel(found) > 0 ? found : "BUSY";
  };

  const run = async (job: Job, { model, target, calls }: { model: string; target: EngineOfModel; calls: JobCalls }) => {
    const { jobId, attempt, kind } = job;
    const entry: RunningJob = { jobId, attempt, kind, model, startedAt: new Date().toISOString(), chunks: 0 };
    board.startJob(entry);
    const onChunk = (delta: unknown) => {
      entry.chunks += 1;
      return calls.onChunk(delta);
    };
    const outcome = await runJob(job, { ...target, limits, onChunk, signal: calls.signal });
    const { output: _, ...end } = outcome;
    board.endJob(entry, end);
    logJob(log, { job, model, outcome }, logPayloads);
    return outcome;
  };

  const tell = () => {
    const now = JSON.stringify(slotsFree());
    if (now === told) return;
    told = now;
    for (const listener of listeners) listener();
  };
  // What changes several times within a turn of the loop is told once.
  let telling = false;
  const changed = () => {
    if (telling) return;
    telling = true;
    queueMicrotask(() => {
      telling = false;
      tell();
    });
  };
  told = JSON.stringify(slotsFree());
  const unsubscribe = board.onChange(changed);

  return {
    get slots() {
      return Object.fromEntries(kinds().map((kind) => [kind, slots[kind]]));
    },
    get slotsFree() {
      return slotsFree();
    },
    start(job, calls): JobErrorCode | Promise<JobOutcome> {
      const model = admit(job);
      if (typeof model === "string") return model;
      const target = engineOf(model.id);
      return target ? run(job, { model: model.id, target, calls }) : "MODEL_NOT_READY";
    },
    onSlots(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    serve(chosen, ofType) {
      models = chosen;
      slots = ofType;
      changed();
    },
    modelFor(kind) {
      const able = models.filter((model) => takesKind(model, kind));
      return (able.find(isReady) ?? able[0])?.id ?? null;
    },
    idle() {
      return new Promise((resolve) => {
        const settle = () => {
          if (board.current.jobs.length > 0) return;
          stop();
          resolve();
        };
        const stop = board.onChange(settle);
        settle();
      });
    },
    close: unsubscribe,
  };
}
