import type { JobOutcome } from "../../job.ts";
import type { JobKind } from "../../model.ts";

/** A job as the coordinator keeps it. Times are milliseconds of the clock (Date.now). */
export interface JobRecord {
  id: string;
  kind: JobKind;
  model: string;
  /** Null once the job has ended, unless it is to be kept. */
  input: unknown;
  stream: boolean;
  /** A second try does no harm. */
  retrySafe: boolean;
  /** Attempts that may fail, or be lost; a worker that turns it down has not tried. */
  maxAttempts: number;
  /** Higher ones go first. */
  priority: number;
  /** Name of the key that it came with; null where keys have no names. */
  client: string | null;
  /** Somebody waits for it on an open connection, and without them it is of no use. Its answer is not kept. */
  attended: boolean;
  keepInput: boolean;
  /** Of the request; tells whether the same id was sent with the same job. */
  digest: string;
  createdAt: number;
  deadlineAt: number;
  state: JobState;
  /** How often it was offered so far; the newest attempt alone can end it. */
  attempt: number;
  /** Attempts that failed, or were lost. */
  failures: number;
  /** Who has it now, or had it as it ended. */
  workerId: string | null;
  outcome: JobOutcome | null;
  finishedAt: number | null;
}

export const JOB_STATES = ["queued", "assigned", "done", "failed", "cancelled"] as const;
/** `assigned`: offered to a worker, which may be running it. */
export type JobState = (typeof JOB_STATES)[number];

export function isFinal(state: JobState): boolean {
  return state === "done" || state === "failed" || state === "cancelled";
}
