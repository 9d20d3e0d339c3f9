import type { JobState } from "../jobs/job-record.ts";

/** How many jobs ended in one step of time: done, failed, cancelled. */
export type ThroughputPoint = [done: number, failed: number, cancelled: number];

const ENDS: JobState[] = ["done", "failed", "cancelled"];
export const THROUGHPUT = { stepMs: 5_000, points: 120 };

/** How many jobs ended in each of the last steps, in memory; a number for each job that ends is all it costs. */
export class Throughput {
  readonly #now: () => number;
  #points: ThroughputPoint[];
  /** Number of the last step, since the clock's beginning. */
  #step: number;

  /** `now`: milliseconds of a clock that only goes forward. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#points = Array.from({ length: THROUGHPUT.points }, none);
    this.#step = this.#stepNow();
  }

  ended(state: JobState): void {
    this.#advance();
    const place = ENDS.indexOf(state);
    if (place >= 0) this.#points.at(-1)![place]! += 1;
  }

  /** Oldest first; the last one is under way. */
  points(): ThroughputPoint[] {
    this.#advance();
    return this.#points.map(([...counts]) => counts);
  }

  #advance(): void {
    const step = this.#stepNow();
    const passed = Math.min(THROUGHPUT.points, step - this.#step);
    this.#step = step;
    if (passed > 0) this.#points = [...this.#points.slice(passed), ...Array.from({ length: passed }, none)];
  }

  #stepNow(): number {
    return Math.floor(this.#now() / THROUGHPUT.stepMs);
  }
}

function none(): ThroughputPoint {
  return [0, 0, 0];
}
