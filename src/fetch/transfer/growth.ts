import { performance } from "node:perf_hooks";

/** How long throughput is watched before and after a change. */
const WINDOW_MS = 25;
const FACTOR = 4;
/** More connections are kept where they bring at least this much more. */
const GAIN = 1.25;
/** A trial does not wait longer than this for the first bytes of its connections. */
const PATIENCE_MS = 2_000;
/** A thread that is busy for more than this share of its time gains nothing by more connections. */
const BUSY = 0.85;
const HOLD_MS = 3_000;

export interface TickState {
  /** There is work for more connections. */
  hasMore: boolean;
  /** Something else than the link holds them up. */
  waits: boolean;
  /** Some have brought nothing yet. */
  areNew: boolean;
}

/**
 * How many connections a thread should have: as few as fill the link. One for as long as the thread itself is the
 * bottleneck; four times as many where it idles, for as long as that brings more bytes; back where it does not.
 */
export class Growth {
  readonly #most: number;
  #target = 1;
  /** Before the last growth, while that is on trial. */
  #trial: { target: number; rate: number; since: number; settled: boolean } | null = null;
  #heldUntil = 0;
  #bytes = 0;
  #hasBegun = false;
  #windowStart = performance.now();
  #utilization = performance.eventLoopUtilization();

  constructor(most: number) {
    this.#most = most;
  }

  get target(): number {
    return this.#target;
  }

  /** While it is not known whether more connections help, their ranges had better be short. */
  get onTrial(): boolean {
    return this.#trial !== null;
  }

  count(bytes: number): void {
    this.#bytes += bytes;
  }

  /** The host asked for fewer requests. */
  shrink(): void {
    this.#trial = null;
    this.#target = Math.max(1, Math.floor(this.#target / 2));
    this.#heldUntil = performance.now() + HOLD_MS;
  }

  /** Called every few milliseconds. */
  tick({ hasMore, waits, areNew }: TickState): void {
    const now = performance.now();
    const elapsed = now - this.#windowStart;
    if (elapsed < WINDOW_MS) return;
    const rate = this.#bytes / elapsed;
    this.#hasBegun ||= this.#bytes > 0;
    const busy = performance.eventLoopUtilization(this.#utilization).utilization;
    this.#bytes = 0;
    this.#windowStart = now;
    this.#utilization = performance.eventLoopUtilization();
    if (this.#trial) {
      // What connections bring that are being made says nothing.
      if (areNew && this.#hasBegun && now - this.#trial.since < PATIENCE_MS) return;
      if (!this.#trial.settled && this.#hasBegun) {
        this.#trial.settled = true;
        return;
      }
      const { target, rate: before } = this.#trial;
      this.#trial = null;
      if (this.#hasBegun && rate < before * GAIN) {
        this.#target = target;
        this.#heldUntil = now + HOLD_MS;
        return;
      }
    }
    if (!hasMore || waits || busy > BUSY || now < this.#heldUntil || this.#target >= this.#most) return;
    this.#trial = { target: this.#target, rate, since: now, settled: false };
    this.#target = Math.min(this.#most, this.#target * FACTOR);
  }
}
