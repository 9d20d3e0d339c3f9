import { MusterError, toMusterError } from "./errors.ts";
import type { JobKind } from "./model.ts";
import { JOB_ERRORS, type JobErrorCode } from "./protocol.ts";

/** The words for jobs that the coordinator's session, which has them, and the job server, which runs them, share. */

export interface JobRef {
  jobId: string;
  /** Rises each time the coordinator offers the job anew. */
  attempt: number;
}

export interface Job extends JobRef {
  kind: JobKind;
  /** Id in the catalog, or the name at its source. */
  model: string;
  /** As it came, unchecked. */
  input: unknown;
  /** Milliseconds that were left for it when it came. */
  remainingMs: number;
  /** The answer is wanted in pieces as well as whole. */
  stream: boolean;
}

export interface JobFailure {
  code: JobErrorCode;
  message: string;
  retryable: boolean;
}

/** How a job ended. `output` holds the whole answer, of a streamed job too. */
export interface JobOutcome {
  status: "done" | "failed" | "cancelled";
  output?: unknown;
  error?: JobFailure;
  /** Tokens: prompt_tokens, completion_tokens, total_tokens. */
  usage?: Record<string, number>;
  /** Milliseconds: queue_ms, first_token_ms, total_ms. */
  timings?: Record<string, number>;
}

/** Takes a piece of a streamed answer. A promise: take no more from the engine until it has settled. */
export type ChunkSink = (delta: unknown) => Promise<void> | null;

export interface JobCalls {
  onChunk: ChunkSink;
  /** Its reason is a MusterError whose code says why: CANCELLED, TIMEOUT, LEASE_LOST, DRAINING. */
  signal: AbortSignal;
}

export type Slots = Partial<Record<JobKind, number>>;

/** What runs jobs, as the session sees it. */
export interface JobRunner {
  /** Jobs that it runs at once, by kind. */
  readonly slots: Slots;
  /** How many more it would take now; none while paused, draining or not ready. */
  readonly slotsFree: Slots;
  /** Takes a slot and begins, or says why not; at once. The promise never rejects, and its slot is free once it settles. */
  start(job: Job, calls: JobCalls): JobErrorCode | Promise<JobOutcome>;
  /** Called after each change of `slotsFree`. Returns the function that unsubscribes. */
  onSlots(listener: () => void): () => void;
}

/** Anything thrown while a job ran, as the coordinator is told of it. Secrets are removed. */
export function toJobFailure(error: unknown): JobFailure {
  const { code, message } = toMusterError(error);
  return isJobErrorCode(code)
    ? { code, message, retryable: JOB_ERRORS[code].retryable }
    : { code: "INTERNAL", message, retryable: JOB_ERRORS.INTERNAL.retryable };
}

/** How a job ended that was given up for this reason. */
export function outcomeOfAbort(reason: unknown): JobOutcome {
  const error = toJobFailure(reason);
  return { status: error.code === "CANCELLED" ? "cancelled" : "failed", error };
}

/** An error of a job; `message` is for whoever sent it. */
export function jobError(code: JobErrorCode, message: string, hint: string, cause?: unknown): MusterError {
  return new MusterError(code, message, { hint, cause });
}

function isJobErrorCode(code: string): code is JobErrorCode {
  return Object.hasOwn(JOB_ERRORS, code);
}
