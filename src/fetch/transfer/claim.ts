import type { Range } from "../../store/ranges.ts";

interface Mark {
  position: number;
  at: number;
}

const MARK_MS = 200;
/** A claim that takes longer than this, or brings nothing for so long, is worth helping. */
const SLOW_MS = 1_000;

/** A range that one connection is fetching. */
export interface Claim {
  readonly start: number;
  /** Falls when another connection takes over the end of it. */
  end: number;
  /** What the server was asked for. */
  readonly askedEnd: number;
  /** Written up to here. */
  position: number;
  readonly startedAt: number;
  /** When its first bytes came. */
  begunAt: number | null;
  /** When its last bytes came. */
  lastAt: number;
  /** Where it was a while ago: a connection that has just got going is faster than it was on average. */
  before: Mark;
  since: Mark;
  /** Attempts before this one that brought nothing. */
  readonly failures: number;
  /** Ends the request. */
  readonly controller: AbortController;
  /** Another connection fetches the same bytes: who is first wins. */
  isHedged: boolean;
}

export function createClaim(range: Range, failures: number, now: number): Claim {
  return {
    start: range.start,
    end: range.end,
    askedEnd: range.end,
    position: range.start,
    startedAt: now,
    begunAt: null,
    lastAt: now,
    before: { position: range.start, at: now },
    since: { position: range.start, at: now },
    failures,
    controller: new AbortController(),
    isHedged: false,
  };
}

/** Bytes have been written up to there. */
export function advance(claim: Claim, position: number, now: number): void {
  claim.position = position;
  if (now - claim.since.at < MARK_MS) return;
  claim.before = claim.since;
  claim.since = { position, at: now };
}

/** Bytes a millisecond lately; 0 before the first came, and after a silence. */
export function rateOf({ begunAt, lastAt, before, position }: Claim, now: number): number {
  return begunAt === null || now - lastAt > SLOW_MS
    ? 0
    : (position - before.position) / Math.max(1, now - Math.max(begunAt, before.at));
}

/** Of claims on average; 0 without any. */
export function meanRate(claims: readonly Claim[], now: number): number {
  return claims.reduce((sum, claim) => sum + rateOf(claim, now), 0) / Math.max(1, claims.length);
}

/** Milliseconds from asking to the first byte, on average of those that have begun; 0 without any. */
export function meanLatency(claims: readonly Claim[]): number {
  const waits = claims.flatMap(({ begunAt, startedAt }) => (begunAt === null ? [] : [begunAt - startedAt]));
  return waits.reduce((sum, wait) => sum + wait, 0) / Math.max(1, waits.length);
}

/** Those that began and have brought nothing for a while. */
export function silent(claims: readonly Claim[], now: number): Claim[] {
  return claims.filter(({ begunAt, lastAt }) => begunAt !== null && now - lastAt > SLOW_MS);
}

/** When bytes came, by any connection of a file. */
export interface Flow {
  /** The first after a silence. */
  since: number;
  last: number;
}

/** Bytes have come. */
export function continueFlow({ since, last }: Flow, now: number): Flow {
  return { since: now - last > SLOW_MS ? now : since, last: now };
}

/** The one that will take longest, where that is long. */
export function findSlowest(claims: readonly Claim[], flow: Flow, now: number): Claim | null {
  const timeLeft = (claim: Claim) => (claim.end - claim.position) / Math.max(1e-3, rateOf(claim, now));
  // Before its first byte a connection is not slow but new, until bytes of others have come for long.
  const isSlow = ({ begunAt, startedAt }: Claim) =>
    begunAt === null ? flow.last - Math.max(startedAt, flow.since) > 2 * SLOW_MS : now - begunAt > SLOW_MS;
  const slowest = claims
    .filter((claim) => isSlow(claim) && !claim.isHedged && claim.end > claim.position)
    .toSorted((a, b) => timeLeft(b) - timeLeft(a))[0];
  return slowest && timeLeft(slowest) > SLOW_MS ? slowest : null;
}
