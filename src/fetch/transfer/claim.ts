import type { Range } from "../../store/ranges.ts";

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
  /** When its first bytes were written. */
  begunAt: number | null;
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
    failures,
    controller: new AbortController(),
    isHedged: false,
  };
}

/** Bytes a millisecond since the first came; 0 before. */
export function rateOf({ begunAt, start, position }: Claim, now: number): number {
  return begunAt === null ? 0 : (position - start) / Math.max(1, now - begunAt);
}
