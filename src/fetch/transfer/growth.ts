import { type EventLoopUtilization, type Performance, performance } from "node:perf_hooks";
import { Throughput } from "./throughput.ts";

/** How long throughput is watched at a time. */
const WINDOW_MS = 25;
/**
 * Bytes come in bursts, and a thread is kept waiting by others: what more connections bring is compared with this while
 * before, and they are given up only after that while.
 */
const JUDGED_MS = { before: 250, after: 200 };
const FACTOR = 4;
/** As many at the most before the first byte has come: only then it shows whether they bring more. */
const UNSEEN = 16;
/** More connections are kept where they bring at least this much more; at first sight where they bring far more. */
const GAIN = { least: 1.25, plain: 2 };
/** A trial does not wait longer than this for the first bytes of its connections. */
const PATIENCE_MS = 2_000;
/** A thread that is busy for more than this share of its time gains nothing by more connections. */
const BUSY = 0.85;
/** No trial again for so long after one that brought nothing; longer each time. */
const HOLD_MS = { least: 3_000, most: 60_000 };
/** Nor shortly after something else than the link held connections up for more than this share of the time. */
const HELD_UP = { share: 0.2, ms: 150 };

export interface TickState {
  /** There is work for more connections. */
  hasMore: boolean;
  /** How long something else than the link has held them up so far. */
  waitedMs: number;
  /** Some have brought nothing yet. */
  areNew: boolean;
}

/** A growth of which it is not known yet whether it brings more. */
interface Trial {
  /** Before it. */
  readonly target: number;
  readonly rate: number;
  /** When it began. */
  readonly since: number;
  /** Its connections are at work; since then throughput is watched. */
  settled: boolean;
}

/** The time, and how busy the thread was. */
export type Clock = Pick<Performance, "now" | "eventLoopUtilization">;

/**
 * How many connections a thread should have: as few as fill the link. One for as long as the thread itself is the
 * bottleneck; four times as many where it idles, for as long as that brings more bytes; back where it does not.
 */
export class Growth {
  readonly #most: number;
  #target = 1;
  #trial: Trial | null = null;
  /** With the connections of now. */
  readonly #throughput = new Throughput();
  #heldUntil = 0;
  #holdMs = HOLD_MS.least;
  #bytes = 0;
  #hasBegun = false;
  #waitedMs = 0;
  readonly #clock: Clock;
  #windowStart: number;
  #utilization: EventLoopUtilization;

  constructor(most: number, clock: Clock = performance) {
    this.#most = most;
    this.#clock = clock;
    this.#windowStart = clock.now();
    this.#utilization = clock.eventLoopUtilization();
  }

  get target(): number {
    return this.#target;
  }

  /** While it is not known whether more connections help, their ranges had better be short. */
  get onTrial(): boolean {
    return this.#trial !== null;
  }

  /** What is counted is counted from now on: where work begins, a while without any says nothing about the link. */
  begin(): void {
    this.#throughput.clear();
    this.#openWindow();
  }

  count(bytes: number): void {
    this.#bytes += bytes;
  }

  /** The host asked for fewer requests. */
  shrink(): void {
    this.#trial = null;
    this.#target = Math.max(1, Math.floor(this.#target / 2));
    this.#hold(HOLD_MS.least);
  }

  /** Called every few milliseconds. True when more connections have turned out to bring nothing more. */
  tick({ hasMore, waitedMs, areNew }: TickState): boolean {
    const now = this.#clock.now();
    const elapsed = now - this.#windowStart;
    if (elapsed < WINDOW_MS) return false;
    if (waitedMs - this.#waitedMs > HELD_UP.share * elapsed) this.#hold(HELD_UP.ms);
    this.#waitedMs = waitedMs;
    this.#hasBegun ||= this.#bytes > 0;
    this.#throughput.add(this.#bytes, elapsed);
    const busy = this.#clock.eventLoopUtilization(this.#utilization).utilization;
    this.#openWindow();
    if (this.#trial) {
      const bringsMore = this.#judge(this.#trial, areNew, now);
      if (bringsMore === null) return false;
      if (!bringsMore) {
        this.#goBack(this.#trial);
        return true;
      }
      this.#trial = null;
    }
    this.#throughput.keep(JUDGED_MS.before);
    const most = this.#hasBegun ? this.#most : Math.min(UNSEEN, this.#most);
    if (!hasMore || busy > BUSY || now < this.#heldUntil || this.#target >= most) return false;
    this.#trial = { target: this.#target, rate: this.#throughput.rate, since: now, settled: false };
    this.#target = Math.min(most, this.#target * FACTOR);
    return false;
  }

  /** Whether its connections bring more; null while that does not show. */
  #judge(trial: Trial, areNew: boolean, now: number): boolean | null {
    // Before the first byte nothing speaks against them.
    if (!this.#hasBegun) return true;
    // What connections bring that are being made says nothing.
    if (areNew && now - trial.since < PATIENCE_MS) return null;
    if (!trial.settled) {
      trial.settled = true;
      this.#throughput.clear();
      return null;
    }
    const isOver = this.#throughput.ms >= JUDGED_MS.after;
    if (this.#throughput.rate >= trial.rate * (isOver ? GAIN.least : GAIN.plain)) return true;
    return isOver ? false : null;
  }

  #goBack({ target }: Trial): void {
    this.#trial = null;
    this.#target = target;
    this.#throughput.clear();
    this.#hold(this.#holdMs);
    this.#holdMs = Math.min(2 * this.#holdMs, HOLD_MS.most);
  }

  #openWindow(): void {
    this.#bytes = 0;
    this.#windowStart = this.#clock.now();
    this.#utilization = this.#clock.eventLoopUtilization();
  }

  #hold(ms: number): void {
    this.#heldUntil = Math.max(this.#heldUntil, this.#clock.now() + ms);
  }
}
