import { isFinal, type JobRecord } from "../jobs/job-record.ts";
import type { WorkerView } from "../workers/worker-view.ts";
import type { LostWorker } from "./fleet-events.ts";
import { Throughput } from "./throughput.ts";

/** Who wants to hear of changes as they come. */
export interface FleetListener {
  /** Something of this worker is new, or it is gone. */
  worker(id: string): void;
  lost(worker: LostWorker): void;
  /** A job is new, or has another state. */
  job(job: JobRecord): void;
}

const LOST_KEPT = 50;

/** What workers and jobs tell of themselves, and the little of it that is kept while nobody watches. */
export class FleetHistory {
  readonly throughput = new Throughput();
  lost: readonly LostWorker[] = [];
  listener: FleetListener | null = null;

  readonly workerChanged = (id: string): void => this.listener?.worker(id);

  readonly workerLost = ({ id, workerType }: WorkerView): void => {
    const lost = { id, type: workerType, at: Date.now() };
    this.lost = [...this.lost.slice(1 - LOST_KEPT), lost];
    this.listener?.lost(lost);
  };

  readonly jobChanged = (job: JobRecord): void => {
    if (isFinal(job.state)) this.throughput.ended(job.state);
    this.listener?.job(job);
  };
}
