import { type Job, jobError } from "../job.ts";
import type { CoordinatorFrame } from "../protocol.ts";
import { setAlarm } from "./alarm.ts";
import { type ChunkRing, createChunkRing } from "./chunk-ring.ts";

export type Offer = Extract<CoordinatorFrame, { t: "job.offer" }>;

/** A job that this worker has accepted, until its outcome is there. It outlives the session that brought it. */
export interface JobInFlight {
  readonly jobId: string;
  /** The attempt that its chunks and its outcome count for. */
  readonly attempt: number;
  readonly lease: string;
  readonly ring: ChunkRing;
  /** Aborted with the reason why the work is of no more use. */
  readonly signal: AbortSignal;
  /** The coordinator counts on it no more: its outcome goes nowhere. */
  readonly abandoned: boolean;
  /** As the runner takes it. */
  toJob(): Job;
  /** The running work goes on under this offer's attempt, lease and deadline. */
  adopt(offer: Offer): void;
  /** The lease holds for so long after `since` (performance.now); never shortens it. */
  renew(since: number, leaseMs: number): void;
  cancel(): void;
  /** Gives it up because the worker ends. */
  release(): void;
  /** Gives it up because the lease is gone. */
  abandon(why: string): void;
  /** Its clocks stop. */
  end(): void;
}

/** Starts the clocks of the lease and of the deadline. */
export function createJobInFlight(offer: Offer, leaseMs: number): JobInFlight {
  const { jobId, kind, model, input, stream } = offer;
  const ring = createChunkRing();
  const controller = new AbortController();
  let current = offer;
  let abandoned = false;
  let leaseUntil = performance.now() + leaseMs;

  const abandon = (why: string) => {
    abandoned = true;
    ring.close();
    controller.abort(
      jobError(
        "LEASE_LOST",
        `The lease of job ${jobId} is gone: ${why}.`,
        "The coordinator gives it to somebody else.",
      ),
    );
  };
  const overdue = () => {
    controller.abort(
      jobError(
        "TIMEOUT",
        `The job was not done within the ${current.remainingMs} ms that were left for it.`,
        "Give it more time, or ask for less.",
      ),
    );
  };
  const watchDeadline = () => {
    const dueAt = performance.now() + current.remainingMs;
    return setAlarm(() => dueAt, overdue);
  };
  const forgetLease = setAlarm(
    () => leaseUntil,
    () => abandon("no beat that renews it was acknowledged in time"),
  );
  let forgetDeadline = watchDeadline();
  return {
    jobId,
    ring,
    signal: controller.signal,
    get attempt() {
      return current.attempt;
    },
    get lease() {
      return current.lease;
    },
    get abandoned() {
      return abandoned;
    },
    toJob: () => ({ jobId, attempt: offer.attempt, kind, model, input, stream, remainingMs: offer.remainingMs }),
    adopt(offer) {
      // A new attempt begins with its first chunk; the same one goes on.
      if (offer.attempt !== current.attempt) ring.rewind(0);
      current = offer;
      forgetDeadline();
      forgetDeadline = watchDeadline();
    },
    renew(since, leaseMs) {
      leaseUntil = Math.max(leaseUntil, since + leaseMs);
    },
    cancel() {
      controller.abort(jobError("CANCELLED", "The coordinator has cancelled the job.", "Send it again when wanted."));
    },
    release() {
      controller.abort(
        jobError(
          "DRAINING",
          "The worker ends before the job is done.",
          "Another worker, or this one later, can do it.",
        ),
      );
    },
    abandon,
    end() {
      forgetLease();
      forgetDeadline();
    },
  };
}
