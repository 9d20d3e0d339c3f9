import type { JobOutcome, JobRef } from "../../job.ts";
import type { Logger } from "../../log.ts";
import { JOB_KINDS } from "../../model.ts";
import type { Admission } from "../jobs/admission.ts";
import type { Assignments } from "../jobs/assignments.ts";
import type { Attempts } from "../jobs/attempts.ts";
import type { JobRecord } from "../jobs/job-record.ts";
import { isFinal } from "../jobs/job-record.ts";
import type {
  CountByKind,
  JobCounts,
  JobEvent,
  JobEvents,
  JobFilter,
  JobRequest,
  Jobs,
  WaitingJobs,
} from "../jobs/jobs.ts";
import { failed, newJob, sameJob } from "../jobs/new-job.ts";
import type { Turns } from "../jobs/turns.ts";
import { isUnavailable } from "../stores/unavailable.ts";
import type { Backlog } from "./backlog.ts";
import { listen } from "./bus.ts";
import type { NatsLink } from "./link.ts";
import type { NatsStore } from "./nats-store.ts";
import type { Presence } from "./presence.ts";
import type { SharedFollowers } from "./shared-followers.ts";
import type { Waiting } from "./waiting.ts";

export interface NatsJobsOptions {
  link: NatsLink;
  gateway: string;
  store: NatsStore;
  turns: Turns;
  backlog: Backlog;
  followers: SharedFollowers;
  admission: Admission;
  attempts: Attempts;
  assignments: Assignments;
  presence: Presence;
  waiting: Waiting;
  jobChanged: (job: JobRecord) => void;
  log: Logger;
}

const CANCELLED = failed("CANCELLED", "It was cancelled.");
const LATE = failed("TIMEOUT", "No worker took it in time.");

/** Jobs as any gateway takes, shows and ends them, at whichever gateway they run. */
export class NatsJobs implements Jobs {
  readonly #options: NatsJobsOptions;
  /** Of jobs that this gateway looks after until they are at a worker: those it took in, and those of gateways that are gone. */
  readonly #deadlines = new Map<string, number>();
  #recovering: Promise<void> | null = null;

  constructor(options: NatsJobsOptions) {
    this.#options = options;
    const { link, assignments, attempts } = options;
    listen<{ id: string }>(link, link.names.everyone("cancel"), ({ id }) => {
      attempts.later(id, async () => assignments.get(id) && (await attempts.cancel(id)));
    });
  }

  async submit(request: JobRequest): Promise<JobRecord> {
    const job = newJob(request, false);
    const known = request.id === undefined ? null : await this.get(job.id);
    return known ? sameJob(known, job) : await this.#take(job);
  }

  async attend(request: JobRequest): Promise<{ job: JobRecord; events: JobEvents }> {
    const { followers, link } = this.#options;
    const job = newJob({ ...request, id: undefined }, true);
    await followers.listen(job.id, { fresh: true });
    const first = { type: "state", state: "queued", attempt: 0, workerId: null } as const;
    let taken = false;
    const events = followers.follow(job.id, first, {
      onLeave: (ended) => {
        if (taken && !ended) this.#cancelLater(job.id, link);
      },
    });
    try {
      await this.#take(job);
      taken = true;
      return { job, events };
    } catch (error) {
      await events.return?.();
      throw error;
    }
  }

  get(id: string): Promise<JobRecord | null> {
    return this.#options.store.get(id);
  }

  list(filter: JobFilter): Promise<JobRecord[]> {
    return this.#options.store.list(filter);
  }

  /** Of all gateways, as of a moment ago. */
  counts(): JobCounts {
    const { presence, waiting } = this.#options;
    const assigned = sumOf(presence.held());
    return { queued: Math.max(0, waiting.size - assigned), assigned };
  }

  /** Of all gateways, as of a few seconds ago. */
  waiting(): WaitingJobs {
    const { presence, waiting } = this.#options;
    const unfinished = waiting.byKind();
    if (!unfinished) return { byKind: null, oldestAt: undefined };
    const assigned = presence.held();
    const left = JOB_KINDS.map((kind) => [kind, Math.max(0, (unfinished[kind] ?? 0) - (assigned[kind] ?? 0))] as const);
    return { byKind: Object.fromEntries(left), oldestAt: undefined };
  }

  /** Of workers at this gateway. */
  atWorker(workerId: string): JobRef[] {
    return this.#options.assignments.of(workerId).map(({ jobId, attempt }) => ({ jobId, attempt }));
  }

  cancel(id: string): Promise<JobRecord | null> {
    const { turns, assignments, attempts, store, link } = this.#options;
    return turns.take(id, async () => {
      for (;;) {
        const job = await store.get(id);
        if (!job || isFinal(job.state)) return job;
        if (job.state === "queued") {
          const ended = await attempts.end(id, job.attempt, CANCELLED);
          if (ended) return ended;
        } else if (await store.requestCancel(id)) {
          if (assignments.get(id)) return await attempts.cancel(id);
          link.tell(link.names.everyone("cancel"), { id });
          return job;
        }
        // It went on in between.
      }
    });
  }

  async follow(id: string, after?: { attempt: number; cs: number }): Promise<JobEvents | null> {
    const { followers, store } = this.#options;
    await followers.listen(id, { fresh: false });
    const job = await store.get(id).catch((error: unknown) => {
      if (!followers.has(id)) followers.unlisten(id);
      throw error;
    });
    if (!job) {
      followers.unlisten(id);
      return null;
    }
    const { state, attempt, workerId } = job;
    const first: JobEvent =
      state === "queued" || state === "assigned" ? { type: "state", state, attempt, workerId } : { type: "end", job };
    return followers.follow(id, first, { after });
  }

  /** Looks after the jobs of gateways that are gone: their deadlines, and that nobody waits for them any more. */
  recover(): Promise<void> {
    const { backlog, presence, gateway, link, log } = this.#options;
    this.#recovering ??= backlog
      .each(({ id, origin, attended, deadlineAt }) => {
        if (origin === gateway || !presence.isGone(origin)) return;
        if (attended) this.#cancelLater(id, link);
        else this.#deadlines.set(id, deadlineAt);
      })
      .catch((error: unknown) => {
        if (!isUnavailable(error)) log.error({ err: error }, "The jobs of another gateway could not be looked after");
      })
      .finally(() => {
        this.#recovering = null;
      });
    return this.#recovering;
  }

  /** Ends what has waited too long. To be called often. */
  sweep(): void {
    const now = Date.now();
    const { link } = this.#options;
    if (!link.isUp()) return;
    for (const [id, deadlineAt] of this.#deadlines) {
      if (deadlineAt >= now) continue;
      this.#deadlines.delete(id);
      this.#endQueued(id, LATE).catch((error: unknown) => {
        if (isUnavailable(error)) this.#deadlines.set(id, deadlineAt);
        else this.#options.log.error({ err: error, jobId: id }, "A job that is late could not be ended");
      });
    }
  }

  /** Ends it where it is nobody's. */
  async #endQueued(id: string, outcome: JobOutcome): Promise<void> {
    const { turns, store, attempts } = this.#options;
    await turns.take(id, async () => {
      const entry = await store.entry(id);
      if (entry?.job.state === "queued") await attempts.end(id, entry.job.attempt, outcome);
    });
  }

  /** Its message first: one without a job is thrown away, but a job without one would wait for ever. */
  async #take(job: JobRecord): Promise<JobRecord> {
    const { backlog, store, admission } = this.#options;
    admission.enter(job.client);
    try {
      const sequence = await backlog.publish(job);
      if (!(await store.insert(job, sequence))) return sameJob((await store.get(job.id))!, job);
      // It was there from an earlier try, and may just have been thrown away.
      if (sequence === null && !(await backlog.has(job))) await backlog.publish(job);
      this.#deadlines.set(job.id, job.deadlineAt);
      backlog.announce(job);
      this.#options.jobChanged(job);
      return job;
    } finally {
      admission.left(job.client);
    }
  }

  /** Tried until NATS has heard it. */
  #cancelLater(id: string, link: NatsLink): void {
    this.cancel(id).catch((error: unknown) => {
      if (isUnavailable(error) && !link.connection.isClosed())
        setTimeout(() => this.#cancelLater(id, link), 1_000).unref();
      else this.#options.log.debug({ err: error, jobId: id }, "A job that nobody waits for could not be cancelled");
    });
  }
}

function sumOf(counts: CountByKind): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}
