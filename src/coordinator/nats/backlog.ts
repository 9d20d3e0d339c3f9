import type { Logger } from "../../log.ts";
import type { JobKind } from "../../model.ts";
import type { JobRecord } from "../jobs/job-record.ts";
import { isUnavailable } from "../stores/unavailable.ts";
import type { JobEntry } from "./job-entry.ts";
import { nanos } from "./layout.ts";
import { isThere, type NatsLink } from "./link.ts";
import { CLASSES, classOf } from "./names.ts";
import { type Delivery, type JobMessage, Puller } from "./puller.ts";

export interface BacklogOptions {
  link: NatsLink;
  gateway: string;
  /** How long a message is a gateway's that says nothing more of it: lease and grace of the worker. */
  ackWaitMs: number;
  /** Lanes of which a worker here would take a job, and how many of one. */
  lanes: () => string[];
  roomFor: (lane: string, kind: JobKind) => number;
  mayPull: () => boolean;
  /** Settles once the job is at a worker, or its message was given back or ended. */
  take: (delivery: Delivery) => Promise<void>;
  log: Logger;
}

const MOST_AT_ONCE = 64;
/** Also without a hint: hints may be lost. */
const LOOK_AGAIN_MS = 2_000;

/**
 * The jobs that wait, in the stream JOBS: a message each, until the job has ended. A gateway pulls as many as its workers
 * would take now, class by class and lane by lane, so that all others stay there for all other gateways.
 */
export class Backlog {
  readonly #options: BacklogOptions;
  readonly #puller: Puller;
  /** Class and lane in which nothing waited when it was looked. */
  readonly #empty = new Set<string>();
  /** Counts sweeps: in each another lane is looked at thoroughly. */
  #sweeps = 0;
  #isSweep = false;
  /** Pulled and not at a worker yet, by kind. */
  readonly #reserved = new Map<JobKind, number>();
  /** Where messages of jobs that are here are acknowledged. */
  readonly #acks = new Map<string, string>();
  #running = false;
  #again = false;
  #hints = 0;
  #lookedAt = 0;
  #closed = false;

  constructor(options: BacklogOptions) {
    this.#options = options;
    this.#puller = new Puller(options.link, options.ackWaitMs);
    // What was said meanwhile was not heard.
    options.link.onUp(() => this.#lookAnew());
  }

  /** Gives the message's number; null where the job has one already. */
  async publish(job: JobRecord): Promise<number | null> {
    const { link, gateway } = this.#options;
    const { id, attended, deadlineAt } = job;
    const message: JobMessage = { id, origin: gateway, attended, deadlineAt };
    return await link.ask(async () => {
      try {
        const { seq } = await link.js.publish(link.names.job(job), JSON.stringify(message), {
          msgID: crypto.randomUUID(),
        });
        return seq;
      } catch (error) {
        if (isThere(error)) return null;
        throw error;
      }
    });
  }

  async has(job: JobRecord): Promise<boolean> {
    const { link } = this.#options;
    const subject = link.names.job(job);
    const find = () => link.jsm.streams.getMessage(link.names.called("JOBS"), { last_by_subj: subject });
    return (await link.ask(find)) !== null;
  }

  /** All gateways hear that there is something to pull. */
  announce({ priority, kind, model }: Pick<JobRecord, "priority" | "kind" | "model">): void {
    const { link } = this.#options;
    const hint = `${classOf(priority)} ${kind} ${model}`;
    link.tell(link.names.everyone("work"), hint);
    this.hear(hint);
  }

  hear(hint: string): void {
    this.#hints += 1;
    this.#empty.delete(hint);
    this.look();
  }

  /** There are more jobs to take, or more workers for them. */
  look(): void {
    this.#again = true;
    if (this.#running || this.#closed) return;
    this.#running = true;
    const rounds = async () => {
      while (this.#again && !this.#closed) {
        this.#again = false;
        await this.#round();
      }
    };
    rounds()
      .catch((error: unknown) => {
        if (!isUnavailable(error)) this.#options.log.error({ err: error }, "Jobs could not be pulled");
      })
      .finally(() => {
        this.#running = false;
      });
  }

  /** To be called often. */
  sweep(): void {
    if (performance.now() - this.#lookedAt >= LOOK_AGAIN_MS) this.#lookAnew();
  }

  ackOf(jobId: string): string | null {
    return this.#acks.get(jobId) ?? null;
  }

  /** The job is here from now on. */
  keep(jobId: string, ack: string): void {
    this.#acks.set(jobId, ack);
  }

  drop(jobId: string): void {
    this.#acks.delete(jobId);
  }

  /** The message stays with whoever has it for another lease and grace. */
  renew(jobId: string): void {
    const ack = this.#acks.get(jobId);
    if (ack) this.#tell(ack, "+WPI");
  }

  /** Back to all gateways. */
  putBack(jobId: string, delayMs = 0): void {
    const ack = this.#acks.get(jobId);
    this.#acks.delete(jobId);
    if (ack) this.refuse(ack, delayMs);
  }

  refuse(ack: string, delayMs = 0): void {
    this.#tell(ack, delayMs > 0 ? `-NAK ${JSON.stringify({ delay: nanos(delayMs) })}` : "-NAK");
  }

  /** The message has done its work. */
  end(ack: string): void {
    this.#tell(ack, "+ACK");
  }

  ended({ ack, sequence, job }: JobEntry): void {
    const { link } = this.#options;
    const here = this.#acks.get(job.id) ?? ack;
    this.#acks.delete(job.id);
    if (here) this.end(here);
    else if (sequence !== null)
      void link.jsm.streams.deleteMessage(link.names.called("JOBS"), sequence, false).catch(() => false);
  }

  /** Calls with the messages of all jobs that have not ended. */
  async each(take: (message: JobMessage) => void): Promise<void> {
    const { link } = this.#options;
    for (let seq = 1; ; seq += 1) {
      const find = () =>
        link.jsm.direct.getMessage(link.names.called("JOBS"), { seq, next_by_subj: link.names.jobs() });
      const message = await link.ask(find);
      if (!message) return;
      take(message.json<JobMessage>());
      seq = message.seq;
    }
  }

  close(): void {
    this.#closed = true;
  }

  #lookAnew(): void {
    this.#lookedAt = performance.now();
    this.#empty.clear();
    this.#sweeps += 1;
    this.#isSweep = true;
    this.look();
  }

  #tell(subject: string, data: string): void {
    const { connection, isUp } = this.#options.link;
    if (isUp() && !connection.isClosed()) connection.publish(subject, data);
  }

  async #round(): Promise<void> {
    const { lanes, roomFor, mayPull } = this.#options;
    const open = lanes();
    const doubted = this.#isSweep ? this.#sweeps % (CLASSES.length * open.length) : -1;
    this.#isSweep = false;
    for (const [rank, priority] of CLASSES.entries()) {
      for (const [place, lane] of open.entries()) {
        const key = `${priority} ${lane}`;
        const kind = lane.slice(0, lane.indexOf(" ")) as JobKind;
        const thorough = rank * open.length + place === doubted;
        if (this.#empty.has(key) || !mayPull()) continue;
        const room = Math.min(MOST_AT_ONCE, roomFor(lane, kind) - (this.#reserved.get(kind) ?? 0));
        if (room <= 0) continue;
        const before = this.#hints;
        const model = lane.slice(kind.length + 1);
        const deliveries = await this.#puller.pull({ priority, kind, model }, { most: room, thorough });
        if (deliveries !== null && deliveries.length < room && before === this.#hints) this.#empty.add(key);
        else this.#again = true;
        for (const delivery of deliveries ?? []) this.#hand(delivery, kind);
      }
    }
  }

  #hand(delivery: Delivery, kind: JobKind): void {
    this.#reserved.set(kind, (this.#reserved.get(kind) ?? 0) + 1);
    this.#options
      .take(delivery)
      .catch((error: unknown) => {
        if (!isUnavailable(error))
          this.#options.log.error({ err: error, jobId: delivery.id }, "A job could not be taken");
      })
      .finally(() => {
        this.#reserved.set(kind, (this.#reserved.get(kind) ?? 0) - 1);
        this.look();
      });
  }
}
