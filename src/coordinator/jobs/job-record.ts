import type { JobOutcome } from "../../job.ts";
import type { JobKind } from "../../model.ts";

/** A job as the coordinator keeps it. Times are milliseconds of the clock (Date.now). */
export interface JobRecord {
  id: string;
  kind: JobKind;
  model: string;
  input: unknown;
  stream: boolean;
  /** A second try does no harm. */
  retrySafe: boolean;
  /** Attempts that may fail, or be lost; a worker that turns it down has not tried. */
  maxAttempts: number;
  createdAt: number;
  deadlineAt: number;
  state: JobState;
  /** How often it was offered so far; the newest attempt alone can end it. */
  attempt: number;
  /** Attempts that failed, or were lost. */
  failures: number;
  /** Who has it now. */
  workerId: string | null;
  outcome: JobOutcome | null;
  finishedAt: number | null;
}

/** `assigned`: offered to a worker, which may be running it. */
export type JobState = "queued" | "assigned" | "done" | "failed" | "cancelled";

export function isFinal(state: JobState): boolean {
  return state === "done" || state === "failed" || state === "cancelled";
}
