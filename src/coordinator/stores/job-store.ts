import type { JobOutcome } from "../../job.ts";
import type { JobRecord } from "../jobs/job-record.ts";
import type { JobFilter } from "../jobs/jobs.ts";

/**
 * Where jobs are kept. Each change holds once its promise resolves, and happens wholly or not at all; those that name an
 * attempt happen only while that attempt is the newest and the job has not ended (compare and set).
 */
export interface JobStore {
  /** False where the id is taken. */
  insert(job: JobRecord): Promise<boolean>;
  get(id: string): Promise<JobRecord | null>;
  /** Newest first. */
  list(filter: JobFilter): Promise<JobRecord[]>;
  /** In the order in which they came. */
  unfinished(): Promise<JobRecord[]>;
  /** From the queue to a worker, as its next attempt. Null where it is not in the queue. */
  assign(id: string, workerId: string): Promise<JobRecord | null>;
  /** Back into the queue. */
  release(id: string, attempt: number, as: { failed: boolean }): Promise<JobRecord | null>;
  /**
   * Ends the job, counts its tokens for its client, and forgets its input unless that is to be kept, and the output of an
   * attended job. Gives the record with the whole outcome.
   */
  commit(id: string, attempt: number, outcome: JobOutcome): Promise<JobRecord | null>;
  /** Tokens (of usage.total_tokens) of jobs of this client that ended on this day of UTC, as 2026-11-21. */
  tokensOf(client: string, day: string): Promise<number>;
  /** Forgets jobs that ended before that time, and tokens of earlier days. */
  prune(before: number): Promise<void>;
  /** Why nothing can be kept just now; null, or absent, where it can. */
  trouble?(): string | null;
  /** Looks whether that has passed. To be called often while it lasts. */
  tryAgain?(): void;
  close(): Promise<void>;
}

/** The day of UTC, as 2026-11-21. */
export function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}
