import type { JobKind } from "../../model.ts";
import type { JobRecord } from "./job-record.ts";

/** A job in the queue, without its input: that stays in the store until it is offered. */
export interface QueuedJob
  extends Pick<JobRecord, "id" | "client" | "priority" | "createdAt" | "deadlineAt" | "attempt" | "attended"> {
  lane: string;
  kind: JobKind;
  model: string;
  /** Its place among those of the same priority. It keeps it when it comes back. */
  order: number;
}

/** Jobs that the same workers can do. */
export function laneOf({ kind, model }: { kind: JobKind; model: string }): string {
  return `${kind} ${model}`;
}

/** Who goes first: the higher priority, then who came first. */
export function byTurn(a: QueuedJob, b: QueuedJob): number {
  return b.priority - a.priority || a.order - b.order;
}

/** Jobs that wait, by lane and by client, so that finding the next one does not look at all of them. */
export class JobQueue {
  readonly #jobs = new Map<string, QueuedJob>();
  readonly #lanes = new Map<string, Map<string | null, QueuedJob[]>>();
  readonly #sizes = new Map<string | null, number>();

  get size(): number {
    return this.#jobs.size;
  }

  sizeOf(client: string | null): number {
    return this.#sizes.get(client) ?? 0;
  }

  has(id: string): boolean {
    return this.#jobs.has(id);
  }

  add(job: QueuedJob): void {
    const { id, lane, client } = job;
    if (this.#jobs.has(id)) return;
    this.#jobs.set(id, job);
    this.#sizes.set(client, this.sizeOf(client) + 1);
    const clients = this.#lanes.get(lane) ?? new Map<string | null, QueuedJob[]>();
    const line = clients.get(client) ?? [];
    line.splice(placeOf(line, job), 0, job);
    this.#lanes.set(lane, clients.set(client, line));
  }

  remove(id: string): boolean {
    const job = this.#jobs.get(id);
    if (!job) return false;
    const { lane, client } = job;
    this.#jobs.delete(id);
    const left = this.sizeOf(client) - 1;
    if (left > 0) this.#sizes.set(client, left);
    else this.#sizes.delete(client);
    const clients = this.#lanes.get(lane)!;
    const line = clients.get(client)!;
    line.splice(placeOf(line, job), 1);
    if (line.length === 0) clients.delete(client);
    if (clients.size === 0) this.#lanes.delete(lane);
    return true;
  }

  /** The next one of a lane whose client may have another job run. */
  head(lane: string, mayRun: (client: string | null) => boolean): QueuedJob | null {
    let best: QueuedJob | null = null;
    for (const [client, [first]] of this.#lanes.get(lane) ?? []) {
      if (first && (!best || byTurn(first, best) < 0) && mayRun(client)) best = first;
    }
    return best;
  }

  /** Lanes in which something waits, of this client where one is named. */
  lanes(client?: string | null): string[] {
    const all = [...this.#lanes];
    return (client === undefined ? all : all.filter(([, clients]) => clients.has(client))).map(([lane]) => lane);
  }

  /** How many there are of each kind, and when the oldest came, in milliseconds of the clock; looks at all of them. */
  waiting(): { byKind: Partial<Record<JobKind, number>>; oldestAt: number | null } {
    const byKind: Partial<Record<JobKind, number>> = {};
    let oldestAt: number | null = null;
    for (const { kind, createdAt } of this.#jobs.values()) {
      byKind[kind] = (byKind[kind] ?? 0) + 1;
      oldestAt = Math.min(oldestAt ?? createdAt, createdAt);
    }
    return { byKind, oldestAt };
  }

  overdue(now: number): QueuedJob[] {
    return [...this.#jobs.values()].filter(({ deadlineAt }) => deadlineAt < now);
  }
}

/** Where the job stands in the line, or would. */
function placeOf(line: readonly QueuedJob[], job: QueuedJob): number {
  let [low, high] = [0, line.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (byTurn(line[middle]!, job) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
