import type { Range } from "../../store/ranges.ts";

interface Mark {
  position: number;
  at: number;
}

const MARK_MS = 200;
/** What takes longer than this, or brings nothing for so long, is worth helping. */
export const SLOW_MS = 1_000;

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
