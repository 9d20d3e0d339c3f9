import type { JobRef } from "../../job.ts";
import type { Logger } from "../../log.ts";
import type { JobKind } from "../../model.ts";
import type { JobErrorCode, WorkerFrame } from "../../protocol.ts";
import type { JobStore } from "../stores/job-store.ts";
import type { WorkerRegistry } from "../workers/worker-registry.ts";
import { Admission, type ClientBounds } from "./admission.ts";
import { Assignments } from "./assignments.ts";
import { Attempts } from "./attempts.ts";
import { Fleet } from "./fleet.ts";
import { Followers } from "./followers.ts";
import { JobQueue } from "./job-queue.ts";
import type { JobRecord } from "./job-record.ts";
import type { JobCounts, JobEvent, JobEvents, JobFilter, JobRequest, Jobs, Resume, WorkerJobs } from "./jobs.ts";
import { Matcher } from "./matcher.ts";
import { failed, newJob, queuedJob, sameJob } from "./new-job.ts";
import { Turns } from "./turns.ts";

type Hello = Extract<WorkerFrame, { t: "hello" }>;
type Result = Extract<WorkerFrame, { t: "job.result" }>;
type Chunk = Extract<WorkerFrame, { t: "job.chunk" }>;

export interface DispatcherOptions {
  store: JobStore;
  workers: Pick<WorkerRegistry, "send" | "get">;
  leaseMs: number;
  graceMs: number;
  /** Jobs that may wait. */
  maxQueue: number;
  boundsOf: (client: string | null) => ClientBounds;
  log: Logger;
  /** A job is new, or has another state. Called often; to be cheap. */
  onChange?: (job: JobRecord) => void;
}

/** Brings jobs to workers that have a slot and the model ready, and sees to it that each ends once. */
export class Dispatcher implements Jobs, WorkerJobs {
  readonly #options: DispatcherOptions;
  readonly #turns = new Turns();
  readonly #queue = new JobQueue();
  readonly #fleet = new Fleet();
  readonly #followers = new Followers((jobId) => this.#acknowledgeHeld(jobId));
  readonly #assignments: Assignments;
  readonly #admission: Admission;
  readonly #matcher: Matcher;
  readonly #attempts: Attempts;
  #order = 0;

  /** Goes on with the jobs of the store that have not ended. */
  static async open(options: DispatcherOptions): Promise<Dispatcher> {
    const dispatcher = new Dispatcher(options);
    for (const job of await options.store.unfinished()) dispatcher.#recover(job);
    return dispatcher;
  }

  private constructor(options: DispatcherOptions) {
    this.#options = options;
    const { leaseMs, graceMs, maxQueue, boundsOf } = options;
    // The worker ends a job itself when its lease is over; only then another may have it.
    this.#assignments = new Assignments(leaseMs + graceMs);
    this.#admission = new Admission({
      ...{ maxQueue, boundsOf },
      size: () => this.#queue.size,
      sizeOf: (client) => this.#queue.sizeOf(client),
    });
    this.#matcher = new Matcher({
      ...{ queue: this.#queue, fleet: this.#fleet },
      mayRun: (client) => this.#assignments.countOf(client) < (boundsOf(client).concurrent ?? Number.POSITIVE_INFINITY),
      offer: (job, workerId) => this.#attempts.offer(job, workerId),
    });
    this.#attempts = new Attempts({
      ...options,
      ...{ turns: this.#turns, queue: this.#queue, fleet: this.#fleet, assignments: this.#assignments },
      ...{ followers: this.#followers, admission: this.#admission, matcher: this.#matcher },
    });
  }

  async submit(request: JobRequest): Promise<JobRecord> {
    return await this.#take(newJob(request, false), () => undefined);
  }

  async attend(request: JobRequest): Promise<{ job: JobRecord; events: JobEvents }> {
    const job = newJob({ ...request, id: undefined }, true);
    const onLeave = (ended: boolean) => {
      if (!ended) this.#attempts.later(job.id, () => this.#attempts.cancel(job.id));
    };
    let events = null as JobEvents | null;
    await this.#take(job, () => {
      const first = { type: "state", state: "queued", attempt: 0, workerId: null } as const;
      events = this.#followers.follow(job.id, first, { onLeave });
    });
    return { job, events: events! };
  }

  get(id: string): Promise<JobRecord | null> {
    return this.#options.store.get(id);
  }

  list(filter: JobFilter): Promise<JobRecord[]> {
    return this.#options.store.list(filter);
  }

  counts(): JobCounts {
    return { queued: this.#queue.size, assigned: this.#assignments.size };
  }

  atWorker(workerId: string): JobRef[] {
    return this.#assignments.of(workerId).map(({ jobId, attempt }) => ({ jobId, attempt }));
  }

  cancel(id: string): Promise<JobRecord | null> {
    return this.#turns.take(id, () => this.#attempts.cancel(id));
  }

  follow(id: string, after?: { attempt: number; cs: number }): Promise<JobEvents | null> {
    return this.#turns.take(id, async () => {
      const job = await this.get(id);
      if (!job) return null;
      const { state, attempt, workerId } = job;
      const first: JobEvent =
        state === "queued" || state === "assigned" ? { type: "state", state, attempt, workerId } : { type: "end", job };
      return this.#followers.follow(id, first, { after });
    });
  }

  async joined({ workerId, jobs, results }: Hello): Promise<Resume[]> {
    this.#fleet.reset(workerId);
    this.#assignments.renew(workerId, jobs);
    const has = [...jobs, ...results];
    for (const { jobId, attempt, sent } of this.#assignments.of(workerId)) {
      // An offer that still waits for the store goes out to this session.
      if (sent && !has.some((ref) => ref.jobId === jobId && ref.attempt === attempt))
        this.#attempts.giveBack({ jobId, attempt }, { code: "LEASE_LOST", message: "Its worker lost it." });
    }
    return jobs.map((ref) => {
      const found = this.#assignments.find(ref, workerId);
      return { jobId: ref.jobId, verdict: found ? "keep" : "abandon", cs: found?.cs ?? 0 };
    });
  }

  updated(workerId: string): void {
    this.#fleet.update(workerId, this.#options.workers.get(workerId));
    this.#matcher.look(this.#fleet.lanesOf(workerId));
  }

  leaves(workerId: string): void {
    this.#fleet.remove(workerId);
    for (const ref of this.#assignments.of(workerId))
      this.#attempts.giveBack(ref, { code: "DRAINING", message: "Its worker has left." });
  }

  disconnected(workerId: string): void {
    this.#fleet.reset(workerId);
  }

  credit(workerId: string, kind: JobKind, n: number): void {
    this.#fleet.credit(workerId, kind, n);
    this.#matcher.look(this.#fleet.lanesOf(workerId));
  }

  accepted(workerId: string, ref: JobRef): void {
    this.renew(workerId, [ref]);
    const found = this.#assignments.find(ref, workerId);
    if (!found || found.answered) return;
    found.answered = true;
    this.#fleet.answered(workerId, found.job, "accepted");
  }

  rejected(workerId: string, ref: JobRef, code: JobErrorCode): void {
    const found = this.#assignments.find(ref, workerId);
    if (!found) return;
    this.#options.log.debug({ jobId: ref.jobId, workerId, code }, "A worker turned a job down");
    const isWrong = code === "UNSUPPORTED";
    if (!found.answered) this.#fleet.answered(workerId, found.job, isWrong ? "none" : "declined");
    found.answered = true;
    const { kind, model } = found.job;
    const outcome = failed(code, `The model ${model} does not take jobs of the kind ${kind}.`);
    if (isWrong) this.#attempts.later(ref.jobId, () => this.#attempts.end(ref.jobId, ref.attempt, outcome));
    else this.#attempts.requeue(found);
  }

  renew(workerId: string, jobs: readonly JobRef[]): { renewed: string[]; lost: string[] } {
    // The order to cancel it may have been lost with a socket.
    for (const { jobId, attempt } of jobs.filter((ref) => this.#assignments.find(ref, workerId)?.cancelled))
      this.#options.workers.send(workerId, { t: "job.cancel", jobId, attempt });
    return this.#assignments.renew(workerId, jobs);
  }

  chunk(workerId: string, { jobId, attempt, cs, delta }: Chunk, bytes: number): number | null {
    const found = this.#assignments.find({ jobId, attempt }, workerId);
    if (!found) return null;
    if (cs === found.cs) {
      found.cs += 1;
      this.#followers.chunk(jobId, { type: "chunk", attempt, cs, delta }, { bytes, keep: !found.job.attended });
    }
    found.held = this.#followers.isSlow(jobId);
    return found.held ? null : found.cs;
  }

  result(workerId: string, { jobId, attempt, status, output, error, usage, timings }: Result): Promise<void> {
    return this.#turns.take(jobId, async () => {
      if (error?.retryable && status === "failed")
        await this.#attempts.tryAgain({ jobId, attempt }, failed(error.code, error.message));
      else await this.#attempts.end(jobId, attempt, { status, output, ...(error && { error }), usage, timings });
      this.#options.log.debug({ jobId, attempt, workerId, status }, "A job has ended at its worker");
    });
  }

  /** Ends what has waited too long, and takes jobs from workers that are silent for too long. To be called often. */
  sweep(): void {
    for (const { id, attempt } of this.#queue.overdue(Date.now())) {
      this.#attempts.later(id, async () => {
        if (this.#queue.has(id)) await this.#attempts.end(id, attempt, failed("TIMEOUT", "No worker took it in time."));
      });
    }
    for (const assignment of this.#assignments.expired(performance.now())) {
      this.#attempts.giveBack(assignment, {
        code: "LEASE_LOST",
        message: "Its worker has not been heard of for too long.",
        isStill: () => assignment.expiresAt < performance.now(),
      });
    }
    this.#fleet.keep((id) => this.#options.workers.get(id) !== null);
    this.#matcher.look(this.#queue.lanes());
  }

  #acknowledgeHeld(jobId: string): void {
    const found = this.#assignments.get(jobId);
    if (!found?.held || this.#followers.isSlow(jobId)) return;
    found.held = false;
    const { workerId, attempt, cs } = found;
    this.#options.workers.send(workerId, { t: "chunk.ack", jobId, attempt, cs: cs - 1 });
  }

  async close(): Promise<void> {
    this.#matcher.close();
    this.#followers.close();
    await this.#turns.idle();
    await this.#options.store.close();
  }

  #recover(job: JobRecord): void {
    const queued = queuedJob(job, this.#order++);
    const isAssigned = job.state === "assigned" && job.workerId !== null;
    if (isAssigned) {
      const assignment = this.#assignments.add({ ...queued, attempt: job.attempt - 1 }, job.workerId!);
      Object.assign(assignment, { sent: true, answered: true, cancelled: job.attended });
    } else if (job.attended) {
      const outcome = failed("CANCELLED", "Whoever waited for it has gone.");
      this.#attempts.later(job.id, () => this.#attempts.end(job.id, job.attempt, outcome));
    } else this.#queue.add(queued);
  }

  /** Into the store and the queue; `begun` is called in between. */
  #take(job: JobRecord, begun: () => void): Promise<JobRecord> {
    this.#order += 1;
    const order = this.#order;
    return this.#turns.take(job.id, async () => {
      const { store } = this.#options;
      const known = await store.get(job.id);
      if (known) return sameJob(known, job);
      this.#admission.enter(job.client);
      try {
        if (!(await store.insert(job))) return sameJob((await store.get(job.id))!, job);
        begun();
        const queued = queuedJob(job, order);
        this.#queue.add(queued);
        this.#options.onChange?.(job);
        this.#matcher.look([queued.lane]);
        return job;
      } finally {
        this.#admission.left(job.client);
      }
    });
  }
}
