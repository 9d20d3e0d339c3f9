import type { JobRef } from "../../job.ts";
import type { Logger } from "../../log.ts";
import type { JobKind } from "../../model.ts";
import type { JobErrorCode, WorkerFrame } from "../../protocol.ts";
import type { Assignments } from "../jobs/assignments.ts";
import type { Attempts } from "../jobs/attempts.ts";
import type { Resume, WorkerJobs } from "../jobs/jobs.ts";
import { queuedJob } from "../jobs/new-job.ts";
import type { Turns } from "../jobs/turns.ts";
import type { WorkerDesk } from "../jobs/worker-desk.ts";
import { isUnavailable, unavailable } from "../stores/unavailable.ts";
import type { Backlog } from "./backlog.ts";
import { listen, tellAll } from "./bus.ts";
import type { NatsLink } from "./link.ts";
import type { NatsStore } from "./nats-store.ts";
import type { Presence } from "./presence.ts";
import type { SharedFollowers } from "./shared-followers.ts";
import type { SharedWorkers } from "./shared-workers.ts";

type Hello = Extract<WorkerFrame, { t: "hello" }>;
type Result = Extract<WorkerFrame, { t: "job.result" }>;
type Chunk = Extract<WorkerFrame, { t: "job.chunk" }>;

/** A worker has come to a gateway, with these jobs. */
interface Joined {
  workerId: string;
  jobs: JobRef[];
}

export interface NatsDeskOptions {
  link: NatsLink;
  desk: WorkerDesk;
  store: NatsStore;
  turns: Turns;
  backlog: Backlog;
  followers: SharedFollowers;
  assignments: Assignments;
  attempts: Attempts;
  presence: Presence;
  workers: SharedWorkers;
  log: Logger;
}

const AGAIN_MS = 500;
/** How long a worker that comes while NATS is away is kept waiting; less than it waits for its welcome. */
const WELCOME_MS = 5_000;

/** What workers say at this gateway, and what of it is for the others: they may come with jobs of another gateway. */
export class NatsDesk implements WorkerJobs {
  readonly #options: NatsDeskOptions;

  constructor(options: NatsDeskOptions) {
    this.#options = options;
    listen<Joined>(options.link, options.link.names.everyone("joined"), (joined) => this.#hasJoined(joined));
  }

  /** What NATS needs to restart is waited for: to be sent away and come back costs the worker more. */
  async joined(hello: Hello, isThere: () => boolean): Promise<Resume[]> {
    const { link } = this.#options;
    const latest = performance.now() + WELCOME_MS;
    for (;;) {
      try {
        return await this.#join(hello);
      } catch (error) {
        const mayWait = performance.now() < latest && isThere() && !link.connection.isClosed();
        if (!isUnavailable(error) || !mayWait) throw error;
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
        // It is at another gateway by now, perhaps.
        if (!isThere()) throw error;
      }
    }
  }

  async #join(hello: Hello): Promise<Resume[]> {
    const { workers, presence, desk, link } = this.#options;
    // A welcome renews leases.
    if (!presence.mayPromise()) throw unavailable("NATS is away");
    await workers.claim(hello);
    const refs = [...hello.jobs, ...hello.results].map(({ jobId, attempt }) => ({ jobId, attempt }));
    await Promise.all(refs.map((ref) => this.#adopt(ref, hello.workerId)));
    const resume = await desk.joined(hello);
    // After they were adopted: whoever had them only lets go.
    tellAll(link, link.names.everyone("joined"), { workerId: hello.workerId, jobs: refs } satisfies Joined);
    return resume;
  }

  updated(workerId: string): void {
    this.#options.desk.updated(workerId);
    this.#options.workers.changed(workerId);
    this.#options.backlog.look();
  }

  disconnected(workerId: string): void {
    this.#options.desk.disconnected(workerId);
  }

  leaves(workerId: string): void {
    this.#options.desk.leaves(workerId);
  }

  credit(workerId: string, kind: JobKind, n: number): void {
    this.#options.desk.credit(workerId, kind, n);
    this.#options.backlog.look();
  }

  accepted(workerId: string, ref: JobRef): void {
    this.#options.desk.accepted(workerId, ref);
  }

  rejected(workerId: string, ref: JobRef, code: JobErrorCode): void {
    this.#options.desk.rejected(workerId, ref, code);
  }

  renew(workerId: string, jobs: readonly JobRef[]): { renewed: string[]; lost: string[] } | null {
    const { presence, desk, backlog } = this.#options;
    if (!presence.mayPromise()) return null;
    const leases = desk.renew(workerId, jobs);
    for (const jobId of leases.renewed) backlog.renew(jobId);
    return leases;
  }

  chunk(workerId: string, chunk: Chunk, bytes: number): number | null {
    return this.#options.desk.chunk(workerId, chunk, bytes);
  }

  result(workerId: string, result: Result): Promise<void> {
    return this.#options.desk.result(workerId, result);
  }

  /** Takes over what the worker brings and another gateway has had. */
  async #adopt(ref: JobRef, workerId: string): Promise<void> {
    const { turns, store, assignments, attempts, backlog, followers } = this.#options;
    await turns.take(ref.jobId, async () => {
      if (assignments.find(ref, workerId)) return;
      const entry = await store.adopt(ref, workerId);
      if (!entry) return;
      const before = assignments.get(ref.jobId);
      if (before) attempts.forget(before);
      const queued = queuedJob({ ...entry.job, attempt: ref.attempt - 1 }, entry.sequence ?? 0);
      const cs = await followers.placeOf(ref.jobId, ref.attempt);
      const known = { cs, sent: true, answered: true, cancelled: entry.cancelled };
      Object.assign(assignments.add(queued, workerId), known);
      if (entry.ack) backlog.keep(ref.jobId, entry.ack);
      backlog.renew(ref.jobId);
    });
  }

  /** At another gateway: what it has brought is that one's, all else of it here is lost. */
  #hasJoined({ workerId, jobs }: Joined): void {
    const { assignments, attempts, backlog } = this.#options;
    for (const assignment of assignments.of(workerId)) {
      const { jobId, attempt, sent } = assignment;
      attempts.later(jobId, async () => {
        if (assignments.get(jobId) !== assignment) return;
        if (jobs.some((ref) => ref.jobId === jobId && ref.attempt === attempt)) {
          backlog.drop(jobId);
          attempts.forget(assignment);
        } else if (sent) attempts.giveBack(assignment, { code: "LEASE_LOST", message: "Its worker lost it." });
      });
    }
  }
}
