import type { JobOutcome, JobRef } from "../../job.ts";
import type { Logger } from "../../log.ts";
import type { JobKind } from "../../model.ts";
import { JOB_ERRORS, type JobErrorCode, type WorkerFrame } from "../../protocol.ts";
import type { JobStore } from "../stores/job-store.ts";
import type { WorkerRegistry } from "../worker-registry.ts";
import { Assignments } from "./assignments.ts";
import { Credits } from "./credits.ts";
import { isFinal, type JobRecord } from "./job-record.ts";

type Hello = Extract<WorkerFrame, { t: "hello" }>;
type Result = Extract<WorkerFrame, { t: "job.result" }>;

export interface JobRequest extends Pick<JobRecord, "kind" | "model" | "input"> {
  /** Whoever sends the same id again gets the job that there is. */
  id?: string;
  stream?: boolean;
  retrySafe?: boolean;
  maxAttempts?: number;
  timeoutMs?: number;
}

export interface DispatcherOptions {
  store: JobStore;
  workers: Pick<WorkerRegistry, "send" | "list">;
  leaseMs: number;
  graceMs: number;
  log: Logger;
}

export const JOB_DEFAULTS = { maxAttempts: 10, timeoutMs: 600_000 };
/** A worker that has turned a job down is not offered it again before. */
const REJECTED_MS = 1_000;

/** Brings jobs to workers that have a slot and the model ready, and sees to it that each ends once. */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #queue = new Map<string, JobRecord>();
  readonly #assignments: Assignments;
  readonly #credits = new Credits();
  /** Jobs by worker that it has turned down, and until when that counts. */
  readonly #rejections = new Map<string, number>();
  #scheduled = false;
  #closed = false;

  constructor(options: DispatcherOptions) {
    this.#options = options;
    // The worker ends a job itself when its lease is over; only then another may have it.
    this.#assignments = new Assignments(options.leaseMs + options.graceMs);
    for (const job of options.store.unfinished()) {
      if (job.state === "queued" || job.workerId === null) this.#queue.set(job.id, job);
      else this.#assignments.add({ jobId: job.id, attempt: job.attempt }, job.workerId);
    }
  }

  /** Holds the job from now on, whatever becomes of this process. */
  submit(request: JobRequest): JobRecord {
    const { kind, model, input, stream = false, retrySafe = true, id = crypto.randomUUID() } = request;
    const now = Date.now();
    const job: JobRecord = {
      ...{ id, kind, model, input, stream, retrySafe },
      maxAttempts: request.maxAttempts ?? JOB_DEFAULTS.maxAttempts,
      createdAt: now,
      deadlineAt: now + (request.timeoutMs ?? JOB_DEFAULTS.timeoutMs),
      ...{ state: "queued", attempt: 0, failures: 0, workerId: null, outcome: null, finishedAt: null },
    };
    const { store } = this.#options;
    if (!store.insert(job)) return store.get(id) ?? job;
    this.#queue.set(id, job);
    this.changed();
    return job;
  }

  get(id: string): JobRecord | null {
    return this.#options.store.get(id);
  }

  /** Null where there is no such job. One that runs ends once its worker has heard of it. */
  cancel(id: string): JobRecord | null {
    const job = this.get(id);
    const assignment = this.#assignments.get(id);
    if (!job || isFinal(job.state)) return job;
    if (assignment)
      this.#options.workers.send(assignment.workerId, { t: "job.cancel", jobId: id, attempt: job.attempt });
    else this.#end(job, job.attempt, failed("CANCELLED", "It was cancelled before it began."));
    return this.get(id);
  }

  /** A worker has come: what it has of ours it may keep; what it should have and has not is for others. */
  joined({ workerId, jobs, results }: Hello): { jobId: string; verdict: "keep" | "abandon"; cs: number }[] {
    this.#credits.clear(workerId);
    this.#assignments.renew(workerId, jobs);
    const has = [...jobs, ...results];
    for (const { jobId, attempt } of this.#assignments.of(workerId)) {
      if (!has.some((ref) => ref.jobId === jobId && ref.attempt === attempt))
        this.#giveBack({ jobId, attempt }, "LEASE_LOST", "Its worker lost it.");
    }
    return jobs.map((ref) => {
      const found = this.#assignments.find(ref, workerId);
      return { jobId: ref.jobId, verdict: found ? "keep" : "abandon", cs: found?.cs ?? 0 };
    });
  }

  /** The worker leaves for good, and has said all it had to say. */
  leaves(workerId: string): void {
    this.#credits.clear(workerId);
    for (const ref of this.#assignments.of(workerId)) this.#giveBack(ref, "DRAINING", "Its worker has left.");
  }

  /** Its socket is gone; its jobs run on. */
  disconnected(workerId: string): void {
    this.#credits.clear(workerId);
  }

  credit(workerId: string, kind: JobKind, n: number): void {
    this.#credits.set(workerId, kind, n);
    this.changed();
  }

  renew(workerId: string, jobs: readonly JobRef[]): { renewed: string[]; lost: string[] } {
    return this.#assignments.renew(workerId, jobs);
  }

  rejected(workerId: string, ref: JobRef, code: JobErrorCode): void {
    if (!this.#assignments.find(ref, workerId)) return;
    this.#rejections.set(`${workerId} ${ref.jobId}`, performance.now() + REJECTED_MS);
    this.#requeue(ref, { failed: false });
    this.#options.log.debug({ jobId: ref.jobId, workerId, code }, "A worker turned a job down");
  }

  /** Gives the place up to which chunks have come in order; null where they are nobody's. */
  chunk(workerId: string, ref: JobRef & { cs: number }): number | null {
    const found = this.#assignments.find(ref, workerId);
    if (!found) return null;
    if (ref.cs === found.cs) found.cs += 1;
    return found.cs;
  }

  /** Takes the result into the store; once this returns the worker may forget it. */
  result(workerId: string, { jobId, attempt, status, output, error, usage, timings }: Result): void {
    const ref = { jobId, attempt };
    const job = this.get(jobId);
    // Of an older attempt, or of a job that has ended: somebody else's result counts.
    if (!job || isFinal(job.state) || job.attempt !== attempt) return;
    if (error?.retryable && status === "failed") this.#giveBack(ref, error.code, error.message);
    else this.#end(job, attempt, { status, output, ...(error && { error }), usage, timings });
    this.#options.log.debug({ jobId, attempt, workerId, status }, "A job has ended at its worker");
  }

  /** Something that offers depend on has changed. */
  changed(): void {
    if (this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (!this.#closed) this.#offer();
    });
  }

  /** Ends what has waited too long, and takes jobs from workers that are silent for too long. To be called often. */
  sweep(): void {
    const [now, clock] = [performance.now(), Date.now()];
    for (const job of this.#queue.values()) {
      if (job.deadlineAt < clock) this.#end(job, job.attempt, failed("TIMEOUT", "No worker took it in time."));
    }
    for (const ref of this.#assignments.expired(now))
      this.#giveBack(ref, "LEASE_LOST", "Its worker has not been heard of for too long.");
    for (const [key, until] of this.#rejections) if (until < now) this.#rejections.delete(key);
    this.changed();
  }

  close(): void {
    this.#closed = true;
    this.#options.store.close();
  }

  #offer(): void {
    const workers = this.#options.workers.list().filter(({ connected, ready }) => connected && ready);
    const hopeless = new Set<string>();
    for (const job of this.#queue.values()) {
      const want = `${job.kind} ${job.model}`;
      if (hopeless.has(want)) continue;
      const able = workers.filter(
        ({ id, models }) =>
          this.#credits.of(id, job.kind) > 0 &&
          models.some(({ model, location, state }) => state === "ready" && [model, location].includes(job.model)),
      );
      const willing = able.filter(({ id }) => !this.#rejections.has(`${id} ${job.id}`));
      const best = willing.toSorted((a, b) => this.#credits.of(b.id, job.kind) - this.#credits.of(a.id, job.kind))[0];
      if (best) this.#offerTo(job, best.id);
      else if (able.length === 0) hopeless.add(want);
    }
  }

  #offerTo({ id }: JobRecord, workerId: string): void {
    const { store, workers } = this.#options;
    const job = store.assign(id, workerId);
    this.#queue.delete(id);
    if (!job) return;
    this.#credits.spend(workerId, job.kind);
    const { attempt, kind, model, input, stream, retrySafe } = job;
    const { lease } = this.#assignments.add({ jobId: id, attempt }, workerId);
    const remainingMs = Math.max(1, job.deadlineAt - Date.now());
    const offer = {
      t: "job.offer",
      jobId: id,
      attempt,
      lease,
      kind,
      model,
      input,
      remainingMs,
      stream,
      retrySafe,
    } as const;
    if (!workers.send(workerId, offer)) this.#requeue({ jobId: id, attempt }, { failed: false });
  }

  /** Undone: back into the queue, where another attempt does no harm and one is left. */
  #giveBack(ref: JobRef, code: JobErrorCode, message: string): void {
    const job = this.get(ref.jobId);
    if (!job || isFinal(job.state) || job.attempt !== ref.attempt) {
      this.#assignments.delete(ref.jobId);
    } else if (job.retrySafe && job.failures + 1 < job.maxAttempts && job.deadlineAt > Date.now())
      this.#requeue(ref, { failed: true });
    else this.#end(job, ref.attempt, failed(code, message));
  }

  #requeue({ jobId, attempt }: JobRef, as: { failed: boolean }): void {
    const { store } = this.#options;
    this.#assignments.delete(jobId);
    if (!store.release(jobId, attempt, as)) return;
    const job = store.get(jobId);
    if (job) this.#queue.set(jobId, job);
    this.changed();
  }

  #end({ id }: JobRecord, attempt: number, outcome: JobOutcome): void {
    this.#options.store.commit(id, attempt, outcome);
    this.#queue.delete(id);
    this.#assignments.delete(id);
    this.changed();
  }
}

function failed(code: JobErrorCode, message: string): JobOutcome {
  const status = code === "CANCELLED" ? "cancelled" : "failed";
  return { status, error: { code, message, retryable: JOB_ERRORS[code].retryable } };
}
