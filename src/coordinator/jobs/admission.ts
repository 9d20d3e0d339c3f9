import { MusterError } from "../../errors.ts";

/** What one client may have of the fleet; null: no bound. */
export interface ClientBounds {
  /** Jobs at workers at once; more wait. */
  concurrent: number | null;
  /** Jobs that wait; more are refused. */
  queued: number | null;
}

export interface AdmissionOptions {
  /** Jobs that wait, of all clients. */
  maxQueue: number;
  boundsOf: (client: string | null) => ClientBounds;
  size: () => number;
  sizeOf: (client: string | null) => number;
}

/** How many of the last departures the pace is taken from. */
const SAMPLES = 64;
const RETRY_SECONDS = { least: 1, most: 60 };

/** Lets jobs into the queue, or says when it is worth to come back. */
export class Admission {
  readonly #options: AdmissionOptions;
  /** Jobs on their way into the store. */
  readonly #coming = new Map<string | null, number>();
  #comingInAll = 0;
  /** When the last jobs left the queue, by the monotonic clock. */
  #departures: number[] = [];

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /** Throws QUEUE_FULL; `details.retryAfterMs` says when to come back. To be followed by {@link left}. */
  enter(client: string | null): void {
    const { maxQueue, boundsOf, size, sizeOf } = this.#options;
    const { queued } = boundsOf(client);
    const coming = this.#coming.get(client) ?? 0;
    if (size() + this.#comingInAll >= maxQueue) throw this.#full("The queue is full", maxQueue);
    if (queued !== null && sizeOf(client) + coming >= queued)
      throw this.#full("As many jobs of this key wait as may", queued);
    this.#coming.set(client, coming + 1);
    this.#comingInAll += 1;
  }

  /** It is in the queue, or has failed to come there. */
  left(client: string | null): void {
    const coming = (this.#coming.get(client) ?? 0) - 1;
    if (coming > 0) this.#coming.set(client, coming);
    else this.#coming.delete(client);
    this.#comingInAll -= 1;
  }

  /** A job has left the queue. */
  departed(): void {
    this.#departures = [...this.#departures.slice(1 - SAMPLES), performance.now()];
  }

  #full(what: string, bound: number): MusterError {
    const retryAfterMs = this.#secondsFor(bound) * 1000;
    return new MusterError("QUEUE_FULL", `${what}: ${bound} jobs.`, {
      hint: `Send it again in ${retryAfterMs / 1000} s; more workers take more: \`curl …/v1/workers\` shows them.`,
      details: { retryAfterMs },
    });
  }

  /** Until a tenth of the queue has gone, at the pace of late. */
  #secondsFor(bound: number): number {
    const [first] = this.#departures;
    const { least, most } = RETRY_SECONDS;
    if (first === undefined) return most;
    const perSecond = (this.#departures.length * 1000) / Math.max(1, performance.now() - first);
    return Math.round(Math.min(most, Math.max(least, bound / 10 / perSecond)));
  }
}
