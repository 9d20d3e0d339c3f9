import type { JobRef } from "../../job.ts";
import type { JobKind } from "../../model.ts";
import type { JobErrorCode, WorkerFrame } from "../../protocol.ts";
import type { JobRecord, JobState } from "./job-record.ts";

/**
 * The two sides of jobs, whoever keeps them: what the HTTP handlers call, and what the sessions with workers call. One
 * process may hold both, or gateways share what is behind them.
 */

export interface JobRequest extends Pick<JobRecord, "kind" | "model" | "input"> {
  /** What whoever sends it calls the model, where that is another name. */
  asked?: string;
  /** Whoever sends the same id with the same job again gets the job that there is. */
  id?: string;
  client?: string | null;
  stream?: boolean;
  retrySafe?: boolean;
  maxAttempts?: number;
  priority?: number;
  timeoutMs?: number;
  keepInput?: boolean;
}

/** What becomes of a job. Chunks of an attempt are in order and without gaps; a later attempt begins with chunk 0. */
export type JobEvent =
  | { type: "state"; state: "queued" | "assigned"; attempt: number; workerId: string | null }
  | { type: "chunk"; attempt: number; cs: number; delta: unknown }
  /** The last. The record has the whole outcome, of an attended job too. */
  | { type: "end"; job: JobRecord };

/** Ends after the end of the job, or when it is returned from. Who takes events slowly slows the stream, not the worker. */
export type JobEvents = AsyncIterableIterator<JobEvent, undefined> & AsyncDisposable;

export interface JobFilter {
  /** Undefined: of all. */
  client?: string | null;
  state?: JobState;
  /** Those that ended at this worker. */
  endedAt?: string;
  /** Those that came before the job of this id. */
  after?: string;
  limit: number;
}

/** Jobs that have not ended. */
export interface JobCounts {
  queued: number;
  assigned: number;
}

export type CountByKind = Partial<Record<JobKind, number>>;

/** What is known of the jobs that wait. */
export interface WaitingJobs {
  /** Null where only their sum is known. */
  byKind: CountByKind | null;
  /** When the oldest came, in milliseconds of the clock; null where none waits, undefined where that is not known. */
  oldestAt: number | null | undefined;
}

/** For HTTP handlers. */
export interface Jobs {
  /** Holds the job from now on, whatever becomes of this process. Throws QUEUE_FULL, and JOB_EXISTS for an id that another job has. */
  submit(request: JobRequest): Promise<JobRecord>;
  /** Submits a job that lasts as long as its events are taken: it is cancelled when they are returned from before its end. */
  attend(request: JobRequest): Promise<{ job: JobRecord; events: JobEvents }>;
  get(id: string): Promise<JobRecord | null>;
  /** Newest first. */
  list(filter: JobFilter): Promise<JobRecord[]>;
  counts(): JobCounts;
  waiting(): WaitingJobs;
  /** What this worker has now. */
  atWorker(workerId: string): JobRef[];
  /** Null where there is no such job. One that runs ends once its worker has heard of it. */
  cancel(id: string): Promise<JobRecord | null>;
  /** From how it stands now; of chunks, those after `after` that are still kept. Null where there is no such job. */
  follow(id: string, after?: { attempt: number; cs: number }): Promise<JobEvents | null>;
}

type Hello = Extract<WorkerFrame, { t: "hello" }>;
type Result = Extract<WorkerFrame, { t: "job.result" }>;
type Chunk = Extract<WorkerFrame, { t: "job.chunk" }>;

export interface Resume {
  jobId: string;
  verdict: "keep" | "abandon";
  cs: number;
}

/** For the sessions with workers. */
export interface WorkerJobs {
  /**
   * A worker has come: what it has of ours it may keep; what it should have and has not is for others. Throws SUPERSEDED
   * where a newer process runs under its id. `isThere`: whether it still waits for that.
   */
  joined(hello: Hello, isThere: () => boolean): Promise<Resume[]>;
  /** Its models, or whether it is ready, may have changed. */
  updated(workerId: string): void;
  /** Its socket is gone; its jobs run on. */
  disconnected(workerId: string): void;
  /** The worker leaves for good, and has said all it had to say. */
  leaves(workerId: string): void;
  credit(workerId: string, kind: JobKind, n: number): void;
  accepted(workerId: string, ref: JobRef): void;
  rejected(workerId: string, ref: JobRef, code: JobErrorCode): void;
  /** Null: nothing may be promised now, so that the beat is to stay without an answer. */
  renew(workerId: string, jobs: readonly JobRef[]): { renewed: string[]; lost: string[] } | null;
  /**
   * Gives the number of chunks that have come in order, to be acknowledged now; null where that has to wait, because
   * somebody reads slowly, or where they are nobody's. `bytes`: of its frame.
   */
  chunk(workerId: string, chunk: Chunk, bytes: number): number | null;
  /** Takes the result into the store; once this resolves the worker may forget it. */
  result(workerId: string, result: Result): Promise<void>;
}
