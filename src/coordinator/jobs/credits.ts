import type { Slots } from "../../job.ts";
import type { JobKind } from "../../model.ts";

/** How many jobs of each kind a worker will take, by its own last word less what it was offered since. */
export class Credits {
  readonly #byWorker = new Map<string, Slots>();

  set(workerId: string, kind: JobKind, n: number): void {
    this.#byWorker.set(workerId, { ...this.#byWorker.get(workerId), [kind]: n });
  }

  of(workerId: string, kind: JobKind): number {
    return this.#byWorker.get(workerId)?.[kind] ?? 0;
  }

  spend(workerId: string, kind: JobKind): void {
    this.set(workerId, kind, Math.max(0, this.of(workerId, kind) - 1));
  }

  clear(workerId: string): void {
    this.#byWorker.delete(workerId);
  }
}
