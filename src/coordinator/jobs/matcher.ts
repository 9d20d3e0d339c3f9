import type { Fleet } from "./fleet.ts";
import { byTurn, type JobQueue, type QueuedJob } from "./job-queue.ts";

export interface MatcherOptions {
  queue: JobQueue;
  fleet: Fleet;
  /** The client may have one more job run. */
  mayRun: (client: string | null) => boolean;
  /** The job leaves the queue for this worker. */
  offer: (job: QueuedJob, workerId: string) => void;
}

/** Brings the queue and the fleet together, once a turn of the loop, where something has changed. */
export class Matcher {
  readonly #options: MatcherOptions;
  readonly #lanes = new Set<string>();
  #due: NodeJS.Immediate | null = null;
  #closed = false;

  constructor(options: MatcherOptions) {
    this.#options = options;
  }

  /** These lanes have another job, or another worker for it. */
  look(lanes: Iterable<string>): void {
    for (const lane of lanes) this.#lanes.add(lane);
    if (this.#lanes.size === 0 || this.#closed) return;
    this.#due ??= setImmediate(() => {
      this.#due = null;
      this.#match();
    });
  }

  close(): void {
    this.#closed = true;
    if (this.#due) clearImmediate(this.#due);
  }

  #match(): void {
    const { queue, fleet, mayRun, offer } = this.#options;
    const heads = new Map<string, QueuedJob>();
    const lookAt = (lane: string) => {
      const head = queue.head(lane, mayRun);
      if (head) heads.set(lane, head);
      else heads.delete(lane);
    };
    for (const lane of this.#lanes) lookAt(lane);
    this.#lanes.clear();
    // Lanes share workers, and clients their bounds: the first of all goes first.
    for (let next = firstOf(heads); next; next = firstOf(heads)) {
      const worker = mayRun(next.client) ? fleet.best(next.lane, next) : null;
      if (worker) {
        queue.remove(next.id);
        offer(next, worker);
        lookAt(next.lane);
      } else if (mayRun(next.client)) heads.delete(next.lane);
      else lookAt(next.lane);
    }
  }
}

function firstOf(heads: ReadonlyMap<string, QueuedJob>): QueuedJob | null {
  let first: QueuedJob | null = null;
  for (const head of heads.values()) if (!first || byTurn(head, first) < 0) first = head;
  return first;
}
