import type { JobRef } from "../../job.ts";
import type { QueuedJob } from "./job-queue.ts";
import type { CountByKind } from "./jobs.ts";

/** A job at a worker. Times are of the monotonic clock. */
export interface Assignment extends JobRef {
  /** As it stood in the queue. */
  job: QueuedJob;
  workerId: string;
  lease: string;
  expiresAt: number;
  /** Place of the next chunk. */
  cs: number;
  /** Chunks have come that were not acknowledged, because somebody reads slowly. */
  held: boolean;
  /** The offer has gone out; before that it waits for the store. */
  sent: boolean;
  /** When the worker accepted it; null before that, and where another process heard it. */
  acceptedAt: number | null;
  /** The worker has accepted it, or turned it down. */
  answered: boolean;
  /** It was asked to end. */
  cancelled: boolean;
}

/** Which jobs are at which worker, and until when. A beat that names a job renews its lease. */
export class Assignments {
  readonly #leaseMs: number;
  readonly #byJob = new Map<string, Assignment>();
  readonly #byWorker = new Map<string, Set<Assignment>>();
  readonly #byClient = new Map<string | null, number>();

  /** `leaseMs`: how long a worker may be silent before its jobs are another's; longer than the lease it knows of. */
  constructor(leaseMs: number) {
    this.#leaseMs = leaseMs;
  }

  get size(): number {
    return this.#byJob.size;
  }

  /** As the attempt after the one that it has in the queue. */
  add(job: QueuedJob, workerId: string): Assignment {
    const assignment: Assignment = {
      ...{ job, jobId: job.id, attempt: job.attempt + 1, workerId, lease: crypto.randomUUID() },
      ...{ expiresAt: this.#expiry(), cs: 0, held: false, sent: false, answered: false, cancelled: false },
      acceptedAt: null,
    };
    this.#byJob.set(job.id, assignment);
    this.#byWorker.set(workerId, (this.#byWorker.get(workerId) ?? new Set()).add(assignment));
    this.#byClient.set(job.client, this.countOf(job.client) + 1);
    return assignment;
  }

  /** Null where the worker does not have this attempt. */
  find({ jobId, attempt }: JobRef, workerId: string): Assignment | null {
    const found = this.#byJob.get(jobId);
    return found?.attempt === attempt && found.workerId === workerId ? found : null;
  }

  of(workerId: string): Assignment[] {
    return [...(this.#byWorker.get(workerId) ?? [])];
  }

  countByKind(): CountByKind {
    const counts: CountByKind = {};
    for (const { job } of this.#byJob.values()) counts[job.kind] = (counts[job.kind] ?? 0) + 1;
    return counts;
  }

  /** How many jobs of a client are at workers. */
  countOf(client: string | null): number {
    return this.#byClient.get(client) ?? 0;
  }

  get(jobId: string): Assignment | null {
    return this.#byJob.get(jobId) ?? null;
  }

  /** False where it was gone already. */
  delete(assignment: Assignment): boolean {
    const { jobId, workerId, job } = assignment;
    if (this.#byJob.get(jobId) !== assignment) return false;
    this.#byJob.delete(jobId);
    const others = this.#byWorker.get(workerId);
    if (others?.delete(assignment) && others.size === 0) this.#byWorker.delete(workerId);
    const left = this.countOf(job.client) - 1;
    if (left > 0) this.#byClient.set(job.client, left);
    else this.#byClient.delete(job.client);
    return true;
  }

  /** What a beat lists: leases that hold on, and those that are gone. */
  renew(workerId: string, jobs: readonly JobRef[]): { renewed: string[]; lost: string[] } {
    const renewed: string[] = [];
    const lost: string[] = [];
    for (const ref of jobs) {
      const found = this.find(ref, workerId);
      if (found) found.expiresAt = this.#expiry();
      (found ? renewed : lost).push(ref.jobId);
    }
    return { renewed, lost };
  }

  expired(now: number): Assignment[] {
    return [...this.#byJob.values()].filter(({ expiresAt }) => expiresAt < now);
  }

  #expiry(): number {
    return performance.now() + this.#leaseMs;
  }
}
