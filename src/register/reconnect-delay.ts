import { fullJitter } from "../retry.ts";

export interface ReconnectDelay {
  /** How long to wait before the next try. */
  next(outcome: { held: boolean; slow: boolean }): { attempt: number; delayMs: number };
}

/**
 * Full jitter within windows that double up to the largest, for ever. A session that held starts anew from the smallest,
 * and nothing less does: a coordinator that takes every connection and drops it must not be hammered. `slow` is for
 * what will not heal within seconds (a refused token, a coordinator that asks for time).
 */
export function createReconnectDelay({ minMs, maxMs }: { minMs: number; maxMs: number }): ReconnectDelay {
  let attempt = 0;
  return {
    next({ held, slow }) {
      attempt = held ? 1 : attempt + 1;
      const delayMs = slow ? maxMs / 2 + fullJitter(1, maxMs / 2, maxMs / 2) : fullJitter(attempt, minMs, maxMs);
      return { attempt, delayMs: Math.round(delayMs) };
    },
  };
}
