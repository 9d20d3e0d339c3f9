import type { CountByKind, JobCounts } from "../jobs/jobs.ts";
import type { JobSummary, WorkerSummary } from "./summaries.ts";
import type { ThroughputPoint } from "./throughput.ts";

/** What `GET /v1/fleet/events` tells: `hello`, then `change` until all has been told once, `complete`, then `change` for ever. */

/** The first event of a stream. */
export interface FleetHello {
  version: string;
  /** Milliseconds of the coordinator's clock. */
  now: number;
  /** How many workers follow, before the event `complete`. */
  workers: number;
  stepMs: number;
  /** Workers that were forgotten without having said goodbye, newest last. */
  lost: LostWorker[];
}

/** The event `change`: only what is new. */
export interface FleetChange {
  workers?: WorkerSummary[];
  gone?: string[];
  /** Oldest first. */
  jobs?: JobSummary[];
  lost?: LostWorker[];
  counts?: FleetCounts;
  /** The whole history, as it moves on. */
  throughput?: ThroughputPoint[];
}

export interface FleetCounts extends JobCounts {
  /** Null where it is not known. */
  queuedByKind: CountByKind | null;
}

export interface LostWorker {
  id: string;
  type: string;
  /** Milliseconds of the clock. */
  at: number;
}
