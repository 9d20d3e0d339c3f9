import type { Logger } from "../../log.ts";
import type { Assignments } from "../jobs/assignments.ts";
import type { Attempts } from "../jobs/attempts.ts";
import type { JobQueue } from "../jobs/job-queue.ts";
import type { Matcher } from "../jobs/matcher.ts";
import { failed, queuedJob } from "../jobs/new-job.ts";
import type { Turns } from "../jobs/turns.ts";
import type { Evictions } from "../workers/evictions.ts";
import type { Backlog } from "./backlog.ts";
import { listen } from "./bus.ts";
import { isOver, type JobEntry } from "./job-entry.ts";
import type { NatsLink } from "./link.ts";
import type { NatsStore } from "./nats-store.ts";
import type { Presence } from "./presence.ts";
import type { Delivery } from "./puller.ts";

export interface PulledJobsOptions {
  link: NatsLink;
  gateway: string;
  store: NatsStore;
  turns: Turns;
  /** Pulled, and not at a worker yet. */
  queue: JobQueue;
  backlog: Backlog;
  matcher: Pick<Matcher, "look">;
  attempts: Attempts;
  assignments: Assignments;
  presence: Presence;
  evictions: Evictions;
  log: Logger;
}

interface Waiting {
  since: number;
  settle: () => void;
}

/**
 * A message without a job: its gateway is just taking it in, or has died of it, and whoever sent the job sends it again. It
 * waits for about as long as it was without one.
 */
const UNKNOWN_MS = { first: 100, most: 60_000 };
/** How long another gateway gets to say whether it has the job. */
const ASKED_MS = 1_000;
/** A worker that had room has none any more: the job goes back. */
const STUCK_MS = 1_000;

/** What becomes of a message of a job that this gateway has pulled. */
export class PulledJobs {
  readonly #options: PulledJobsOptions;
  readonly #waiting = new Map<string, Waiting>();

  constructor(options: PulledJobsOptions) {
    this.#options = options;
    const { link, gateway } = options;
    listen<{ id: string }>(link, link.names.gateway(gateway, "check"), ({ id }) => {
      options.attempts.later(id, () => this.#check(id));
    });
  }

  /** Settles once the job has left this gateway's queue. */
  async take(delivery: Delivery): Promise<void> {
    const { turns } = this.#options;
    const { promise, resolve } = Promise.withResolvers<void>();
    const isQueued = await turns.take(delivery.id, () => this.#sort(delivery, resolve));
    if (isQueued) await promise;
  }

  /** The job goes to a worker. */
  offered(jobId: string): void {
    this.#waiting.get(jobId)?.settle();
    this.#waiting.delete(jobId);
  }

  /** To be called often. */
  sweep(): void {
    const latest = performance.now() - STUCK_MS;
    for (const [id, { since }] of this.#waiting) if (since < latest) this.#giveBack(id, STUCK_MS);
  }

  /** All that wait here are for other gateways. */
  close(): void {
    for (const id of [...this.#waiting.keys()]) this.#giveBack(id, 0);
  }

  #giveBack(id: string, delayMs: number): void {
    const { queue, backlog } = this.#options;
    if (queue.remove(id)) backlog.putBack(id, delayMs);
    this.offered(id);
  }

  /** Whether it stands in the queue here now. */
  async #sort(delivery: Delivery, settle: () => void): Promise<boolean> {
    const { store, backlog, link } = this.#options;
    const { id, ack, subject, deliveries } = delivery;
    const entry = await store.entry(id);
    if (!entry) {
      const { first, most } = UNKNOWN_MS;
      backlog.refuse(ack, Math.min(most, first * 2 ** (deliveries - 1)));
    } else if (isOver(entry) || link.names.job(entry.job) !== subject) backlog.end(ack);
    else if (entry.job.state === "assigned") await this.#redelivered(entry, delivery);
    else return await this.#queueUp(entry, delivery, settle);
    return false;
  }

  async #queueUp(entry: JobEntry, { sequence, ack, origin }: Delivery, settle: () => void): Promise<boolean> {
    const { queue, backlog, matcher, attempts, presence, gateway } = this.#options;
    const { job } = entry;
    const end = async (code: "CANCELLED" | "TIMEOUT", message: string) => {
      backlog.keep(job.id, ack);
      await attempts.end(job.id, job.attempt, failed(code, message));
      return false;
    };
    if (entry.cancelled) return await end("CANCELLED", "It was cancelled.");
    if (job.attended && origin !== gateway && presence.isGone(origin))
      return await end("CANCELLED", "Whoever waited for it has gone.");
    if (job.deadlineAt < Date.now()) return await end("TIMEOUT", "No worker took it in time.");
    backlog.keep(job.id, ack);
    const queued = queuedJob(job, sequence);
    this.#waiting.set(job.id, { since: performance.now(), settle });
    queue.add(queued);
    matcher.look([queued.lane]);
    return true;
  }

  /** Nobody has renewed the message of a job that is at a worker, or so it is said. */
  async #redelivered({ job, holder, cancelled }: JobEntry, { ack }: Delivery): Promise<void> {
    const { assignments, backlog, gateway, presence, evictions, link, store, log } = this.#options;
    const { id, attempt } = job;
    if (holder === gateway && assignments.get(id)?.attempt === attempt) {
      backlog.keep(id, ack);
      return backlog.renew(id);
    }
    if (holder !== null && holder !== gateway && !presence.isLost(holder)) {
      link.tell(link.names.gateway(holder, "check"), { id });
      return backlog.refuse(ack, ASKED_MS);
    }
    // Here it never got to its worker: this gateway could not hear that it was assigned.
    if (holder === gateway) {
      await store.release(id, attempt, { failed: false });
      return backlog.refuse(ack);
    }
    if (evictions.areFrozen) return backlog.refuse(ack, ASKED_MS);
    log.warn({ jobId: id, attempt, workerId: job.workerId }, "The gateway and the worker of a job are gone");
    const mayTry = !cancelled && job.retrySafe && job.failures + 1 < job.maxAttempts && job.deadlineAt > Date.now();
    if (mayTry) {
      await store.release(id, attempt, { failed: true, holder });
      backlog.refuse(ack);
      backlog.announce(job);
      return;
    }
    const lost = failed("LEASE_LOST", "Its worker has not been heard of for too long.");
    backlog.keep(id, ack);
    await this.#options.attempts.end(id, attempt, cancelled ? failed("CANCELLED", "It was cancelled.") : lost);
  }

  /** Another gateway got the message of a job that is said to be here. */
  async #check(id: string): Promise<void> {
    const { store, assignments, backlog, gateway } = this.#options;
    const entry = await store.entry(id);
    if (!entry || entry.holder !== gateway || entry.job.state !== "assigned") return;
    if (assignments.get(id)?.attempt === entry.job.attempt) return backlog.renew(id);
    if (await store.release(id, entry.job.attempt, { failed: false })) backlog.announce(entry.job);
  }
}
