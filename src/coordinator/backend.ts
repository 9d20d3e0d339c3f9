import type { Logger } from "../log.ts";
import type { CoordinatorPayload } from "../protocol.ts";
import type { ClientBounds } from "./jobs/admission.ts";
import { Dispatcher } from "./jobs/dispatcher.ts";
import type { JobRecord } from "./jobs/job-record.ts";
import type { Jobs, WorkerJobs } from "./jobs/jobs.ts";
import type { Tally } from "./metrics/tally.ts";
import { timed } from "./metrics/timed-store.ts";
import type { JobStore } from "./stores/job-store.ts";
import { Evictions, type Silence } from "./workers/evictions.ts";
import type { WorkerRegistry } from "./workers/worker-registry.ts";
import type { Terms } from "./workers/worker-session.ts";
import type { WorkerView } from "./workers/worker-view.ts";

/** The workers of the fleet, at whichever gateway they are. */
export interface WorkerDirectory {
  list(): WorkerView[];
  get(id: string): WorkerView | null;
  /** False where the worker is not connected. */
  send(id: string, payload: CoordinatorPayload): boolean | Promise<boolean>;
  silent(): Silence;
}

export interface BackendParts extends Terms {
  /** The workers that are connected to this process. */
  registry: WorkerRegistry;
  /** Jobs that may wait. */
  maxQueue: number;
  /** How long jobs that have ended are kept. */
  jobRetentionMs: number;
  boundsOf: (client: string | null) => ClientBounds;
  log: Logger;
  /** A job is new, or has another state; something of a worker elsewhere is new. Called often; to be cheap. */
  jobChanged: (job: JobRecord) => void;
  workerChanged: (workerId: string) => void;
  tally: Tally;
}

/** What is behind the sockets: jobs, and whom they are for. */
export interface Backend {
  jobs: Jobs;
  desk: WorkerJobs;
  workers: WorkerDirectory;
  store: Pick<JobStore, "tokensOf" | "prune">;
  /** Why no jobs can be taken just now; null where they can. */
  trouble(): string | null;
  /** Whether what gateways share is within reach; absent where nothing is shared. */
  isConnected?(): boolean;
  /** Too many workers are silent at once: none is to be forgotten. */
  evictionsAreFrozen(): boolean;
  /** To be called often. */
  sweep(): void;
  close(): Promise<void>;
}

export type OpenBackend = (parts: BackendParts) => Promise<Backend>;

/** All in this process, with a store that is closed with it. */
export function inProcess(plain: JobStore): OpenBackend {
  return async ({ registry, jobChanged: onChange, ...parts }) => {
    const { log } = parts;
    const trouble = () => plain.trouble?.() ?? null;
    let told: string | null = null;
    const store: JobStore = { ...timed(plain, parts.tally), close: () => plain.close() };
    const evictions = new Evictions({ ...parts, count: () => registry.silent() });
    const dispatcher = await Dispatcher.open({ ...parts, store, workers: registry, onChange });
    return {
      ...{ jobs: dispatcher, desk: dispatcher.desk, workers: registry, store },
      trouble,
      evictionsAreFrozen: () => evictions.areFrozen,
      sweep() {
        evictions.sweep();
        const reason = trouble();
        if (reason !== null && reason !== told) log.error(`${reason}; jobs cannot be kept just now`);
        if (reason === null && told !== null) log.info("Jobs can be kept again");
        told = reason;
        // Nothing is taken from anybody meanwhile, and results that wait come first once this is over.
        if (reason !== null) plain.tryAgain?.();
        else dispatcher.sweep({ mayEvict: !evictions.areFrozen });
      },
      close: () => dispatcher.close(),
    };
  };
}
