import { type Range, totalBytes } from "../../store/ranges.ts";

/** How it went with a range so far. */
export interface Tries {
  /** Attempts that brought nothing. */
  failures: number;
  /** Not to be tried again before, by `performance.now()`. */
  notBefore: number;
}

/** The ranges of a file that nobody is fetching, in its order. */
export class WaitingRanges {
  #ranges: (Range & Tries)[] = [];

  get bytes(): number {
    return totalBytes(this.#ranges);
  }

  add(ranges: readonly Range[], tries: Tries): void {
    const added = ranges.map(({ start, end }) => ({ start, end, ...tries }));
    this.#ranges = [...this.#ranges, ...added].toSorted((a, b) => a.start - b.start);
  }

  /** The first that may be tried now, and no more of it than `most` bytes. */
  take(most: number, now: number): (Range & Tries) | null {
    const index = this.#ranges.findIndex(({ notBefore }) => notBefore <= now);
    const next = this.#ranges[index];
    if (!next) return null;
    const end = Math.min(next.end, next.start + most);
    this.#ranges.splice(index, 1, ...(end < next.end ? [{ ...next, start: end }] : []));
    return { ...next, end };
  }

  clear(): void {
    this.#ranges = [];
  }
}
