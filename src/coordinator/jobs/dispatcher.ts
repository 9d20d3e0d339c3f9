import type { JobRef } from "../../job.ts";
import type { Logger } from "../../log.ts";
import type { Tally } from "../metrics/tally.ts";
import type { JobStore } from "../stores/job-store.ts";
import type { WorkerRegistry } from "../workers/worker-registry.ts";
import { Admission, type ClientBounds } from "./admission.ts";
import { Assignments } from "./assignments.ts";
import { Attempts } from "./attempts.ts";
import { Fleet } from "./fleet.ts";
import { Followers } from "./followers.ts";
import { JobQueue } from "./job-queue.ts";
import type { JobRecord } from "./job-record.ts";
import type { JobCounts, JobEvent, JobEvents, JobFilter, JobRequest, Jobs, WaitingJobs } from "./jobs.ts";
import { Matcher } from "./matcher.ts";
import { failed, newJob, queuedJob, sameJob } from "./new-job.ts";
import { Turns } from "./turns.ts";
import { WorkerDesk } from "./worker-desk.ts";

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
  tally: Tally;
}

/** Brings jobs to workers that have a slot and the model ready, and sees to it that each ends once: all in one process. */
export class Dispatcher implements Jobs {
  readonly #options: DispatcherOptions;
  readonly #turns = new Turns();
  readonly #queue = new JobQueue();
  readonly #fleet = new Fleet();
  readonly #followers = new Followers((jobId) => this.desk.acknowledgeHeld(jobId));
  readonly #assignments: Assignments;
  readonly #admission: Admission;
  readonly #matcher: Matcher;
  readonly #attempts: Attempts;
  /** For the sessions with workers. */
  readonly desk: WorkerDesk;
  #order = 0;
  #isOpen = true;

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
    this.desk = new WorkerDesk({
      ...options,
      ...{ turns: this.#turns, fleet: this.#fleet, assignments: this.#assignments, followers: this.#followers },
      ...{ matcher: this.#matcher, attempts: this.#attempts, isOpen: () => this.#isOpen },
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

  waiting(): WaitingJobs {
    return this.#queue.waiting();
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

  /** Ends what has waited too long, and takes jobs from workers that are silent for too long, where it may. To be called often. */
  sweep({ mayEvict }: { mayEvict: boolean }): void {
    for (const { id, attempt } of this.#queue.overdue(Date.now())) {
      this.#attempts.later(id, async () => {
        if (this.#queue.has(id)) await this.#attempts.end(id, attempt, failed("TIMEOUT", "No worker took it in time."));
      });
    }
    if (mayEvict) this.desk.sweep();
    this.#matcher.look(this.#queue.lanes());
  }

  async close(): Promise<void> {
    this.#isOpen = false;
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
