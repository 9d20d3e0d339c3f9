import type { JobRef } from "../../job.ts";

/** A job at a worker. Times are of the monotonic clock. */
export interface Assignment extends JobRef {
  workerId: string;
  lease: string;
  expiresAt: number;
  /** Place of the next chunk. */
  cs: number;
}

/** Which jobs are at which worker, and until when. A beat that names a job renews its lease. */
export class Assignments {
  readonly #leaseMs: number;
  readonly #byJob = new Map<string, Assignment>();

  /** `leaseMs`: how long a worker may be silent before its jobs are another's; longer than the lease it knows of. */
  constructor(leaseMs: number) {
    this.#leaseMs = leaseMs;
  }

  add({ jobId, attempt }: JobRef, workerId: string): Assignment {
    const expiresAt = performance.now() + this.#leaseMs;
    const assignment = { jobId, attempt, workerId, lease: crypto.randomUUID(), expiresAt, cs: 0 };
    this.#byJob.set(jobId, assignment);
    return assignment;
  }

  /** Null where the worker does not have this attempt. */
  find({ jobId, attempt }: JobRef, workerId: string): Assignment | null {
    const found = this.#byJob.get(jobId);
    return found?.attempt === attempt && found.workerId === workerId ? found : null;
  }

  of(workerId: string): Assignment[] {
    return [...this.#byJob.values()].filter((assignment) => assignment.workerId === workerId);
  }

  get(jobId: string): Assignment | null {
    return this.#byJob.get(jobId) ?? null;
  }

  delete(jobId: string): void {
    this.#byJob.delete(jobId);
  }

  /** What a beat lists: leases that hold on, and those that are gone. */
  renew(workerId: string, jobs: readonly JobRef[]): { renewed: string[]; lost: string[] } {
    const renewed: string[] = [];
    const lost: string[] = [];
    for (const ref of jobs) {
      const found = this.find(ref, workerId);
      if (found) found.expiresAt = performance.now() + this.#leaseMs;
      (found ? renewed : lost).push(ref.jobId);
    }
    return { renewed, lost };
  }

  expired(now: number): Assignment[] {
    return [...this.#byJob.values()].filter(({ expiresAt }) => expiresAt < now);
  }
}
