import { addRange, type Range } from "../../store/ranges.ts";
import { type Claim, createClaim, rateOf, SLOW_MS } from "./claim.ts";

/** A rest that is smaller is not divided but fetched twice. */
const LEAST_SHARE = 1 << 20;
/** A shorter one is brought to its end by the connection that has it: a connection that is given up wastes what is on its way. */
const LEAST_CUT = 8 << 20;

/** The claims of one file: how fast they are, and which of them is to be helped, or given up. */
export class Claims implements Iterable<Claim> {
  readonly #claims = new Set<Claim>();
  /** When bytes came by any of them: the first after a silence, and the last. */
  #flow = { since: 0, last: 0 };
  #lastTakeOverAt = 0;

  get size(): number {
    return this.#claims.size;
  }

  [Symbol.iterator](): Iterator<Claim> {
    return this.#claims.values();
  }

  add(range: Range, failures: number, now: number): Claim {
    const claim = createClaim(range, failures, now);
    this.#claims.add(claim);
    return claim;
  }

  delete(claim: Claim): void {
    this.#claims.delete(claim);
  }

  /** Bytes have come. */
  onBytes(now: number): void {
    const { since, last } = this.#flow;
    this.#flow = { since: now - last > SLOW_MS ? now : since, last: now };
  }

  /** Some have brought nothing yet. */
  get areNew(): boolean {
    return [...this.#claims].some(({ begunAt }) => begunAt === null);
  }

  /** Bytes a millisecond on average; 0 without any. */
  rate(now: number): number {
    return mean([...this.#claims].map((claim) => rateOf(claim, now)));
  }

  /** Milliseconds from asking to the first byte, the least of those that have begun: more is often this thread's doing. 0 without any. */
  get latency(): number {
    const latencies = [...this.#claims].flatMap(({ begunAt, startedAt }) =>
      begunAt === null ? [] : begunAt - startedAt,
    );
    return latencies.length === 0 ? 0 : Math.min(...latencies);
  }

  /** Ranges with what these will bring. */
  coverOn(ranges: readonly Range[]): Range[] {
    const underWay = [...this.#claims].map(({ position, end }) => ({ start: position, end }));
    return underWay.reduce<Range[]>(addRange, [...ranges]);
  }

  /** Takes over half of the slowest claim; all of it, beside its connection, where little is left. Null where none is slow. */
  takeOver(now: number, { silentOnly }: { silentOnly: boolean }): Claim | null {
    // A server that is slow altogether gets no faster by being asked for more.
    if (this.#flow.last <= this.#lastTakeOverAt) return null;
    const slowest = this.#slowest(now, silentOnly);
    if (!slowest) return null;
    this.#lastTakeOverAt = now;
    const { position, end, failures } = slowest;
    if (end - position < 2 * LEAST_SHARE) {
      slowest.isHedged = true;
      const hedge = this.add({ start: position, end }, failures, now);
      hedge.isHedged = true;
      return hedge;
    }
    slowest.end = position + Math.ceil((end - position) / 2);
    return this.add({ start: slowest.end, end }, 0, now);
  }

  /** Ends the claim that lies furthest back soon, where it is long. Gives what it leaves; null where none is long. */
  cutLast(): Range | null {
    const last = [...this.#claims].toSorted((a, b) => b.position - a.position)[0];
    if (!last || last.end - last.position < LEAST_CUT) return null;
    const rest = { start: last.position + LEAST_SHARE, end: last.end };
    last.end = rest.start;
    return rest;
  }

  /** The one that will take longest, where that is long. */
  #slowest(now: number, silentOnly: boolean): Claim | null {
    const timeLeft = (claim: Claim) => (claim.end - claim.position) / Math.max(1e-3, rateOf(claim, now));
    const isSilent = ({ begunAt, lastAt }: Claim) => begunAt !== null && now - lastAt > SLOW_MS;
    // Before its first byte a connection is not slow but new, until bytes of others have come for long.
    const isSlow = ({ begunAt, startedAt }: Claim) =>
      begunAt === null
        ? this.#flow.last - Math.max(startedAt, this.#flow.since) > 2 * SLOW_MS
        : now - begunAt > SLOW_MS;
    const slowest = [...this.#claims]
      .filter((claim) => isSlow(claim) && (!silentOnly || isSilent(claim)))
      .filter(({ isHedged, end, position }) => !isHedged && end > position)
      .toSorted((a, b) => timeLeft(b) - timeLeft(a))[0];
    return slowest && timeLeft(slowest) > SLOW_MS ? slowest : null;
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}
