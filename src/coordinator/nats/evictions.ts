import type { Logger } from "../../log.ts";

export interface EvictionsOptions {
  /** Workers of which nothing is heard, and all that are known. */
  count: () => { silent: number; total: number };
  /** A freeze is over after so long, whatever became of the workers. */
  longestMs: number;
  log: Logger;
}

const MOST_SHARE = 0.3;
/** Of fewer, each is a large share. */
const LEAST_WORKERS = 10;

/** When many workers seem to die at once it is rather the network that did: then their jobs are left to them for longer. */
export class Evictions {
  readonly #options: EvictionsOptions;
  #frozenAt: number | null = null;

  constructor(options: EvictionsOptions) {
    this.#options = options;
  }

  get areFrozen(): boolean {
    const { count, longestMs, log } = this.#options;
    const { silent, total } = count();
    const isMany = total >= LEAST_WORKERS && silent > total * MOST_SHARE;
    if (!isMany && this.#frozenAt !== null) log.info("Enough workers are heard of again: evictions go on");
    if (!isMany) this.#frozenAt = null;
    else if (this.#frozenAt === null) {
      this.#frozenAt = performance.now();
      log.error(
        { silent, total },
        "More than 30 % of the workers are silent at once: their jobs are not taken from them yet",
      );
    }
    return this.#frozenAt !== null && performance.now() - this.#frozenAt < longestMs;
  }
}
