import type { JobOutcome } from "../../job.ts";
import type { JobRecord } from "../jobs/job-record.ts";

/**
 * Where jobs are kept. Each change holds once the call returns, and happens wholly or not at all; those that name an
 * attempt happen only while that attempt is the newest and the job has not ended (compare and set).
 */
export interface JobStore {
  /** False where the id is taken. */
  insert(job: JobRecord): boolean;
  get(id: string): JobRecord | null;
  /** In the order in which they came. */
  unfinished(): JobRecord[];
  /** From the queue to a worker, as its next attempt. Null where it is not in the queue. */
  assign(id: string, workerId: string): JobRecord | null;
  /** Back into the queue. */
  release(id: string, attempt: number, as: { failed: boolean }): boolean;
  /** Ends the job. */
  commit(id: string, attempt: number, outcome: JobOutcome): boolean;
  close(): void;
}
