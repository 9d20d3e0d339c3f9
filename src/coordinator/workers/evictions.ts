import type { Logger } from "../../log.ts";

/** Workers of which nothing has been heard for the lease, and all that are known. */
export interface Silence {
  silent: number;
  total: number;
}

export interface EvictionsOptions {
  count: () => Silence;
  leaseMs: number;
  graceMs: number;
  log: Logger;
}

const MOST_SHARE = 0.3;
/** Of fewer, each is a large share. */
const LEAST_WORKERS = 10;
/** A freeze is over after so many times lease and grace, whatever became of the workers. */
const LONGEST = 10;

/**
 * When many workers seem to die at once it is rather the network that did, or this process that stood still: then none of
 * them is forgotten, and their jobs are left to them, for longer. Workers count from the lease on, so that it is known by the
 * time the first of them would go, after lease and grace.
 */
export class Evictions {
  readonly #options: EvictionsOptions;
  #frozenAt: number | null = null;

  constructor(options: EvictionsOptions) {
    this.#options = options;
  }

  get areFrozen(): boolean {
    const { leaseMs, graceMs } = this.#options;
    return this.#frozenAt !== null && performance.now() - this.#frozenAt < LONGEST * (leaseMs + graceMs);
  }

  /** To be called often, before anybody is forgotten. */
  sweep(): void {
    const { count, log } = this.#options;
    const { silent, total } = count();
    const isMany = total >= LEAST_WORKERS && silent > total * MOST_SHARE;
    if (!isMany && this.#frozenAt !== null) log.info({ silent, total }, "Evictions go on: few workers are silent");
    if (!isMany) this.#frozenAt = null;
    else if (this.#frozenAt === null) {
      this.#frozenAt = performance.now();
      log.error(
        { silent, total },
        "More than 30 % of the workers are silent at once: none is forgotten, and no jobs are taken from them yet",
      );
    }
  }
}
