import { setTimeout as sleep } from "node:timers/promises";
import pRetry from "p-retry";
import { type MusterError, toMusterError } from "./errors.ts";

export interface RetryOptions {
  /** Attempts after the first. */
  retries: number;
  /** The delay window doubles from here … */
  minDelayMs: number;
  /** … to here. */
  maxDelayMs: number;
  signal?: AbortSignal;
  onRetry?: (error: MusterError, delayMs: number, attempt: number) => void;
}

/** A timer that is set for longer fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Full jitter: anything between zero and a window that doubles with each attempt (attempt counts from 1). */
export function fullJitter(attempt: number, minDelayMs: number, maxDelayMs: number): number {
  return Math.random() * Math.min(maxDelayMs, minDelayMs * 2 ** (attempt - 1));
}

/**
 * Runs the work again while it fails with a retryable error. A server that said how long to wait
 * (`details.retryAfterMs`) is waited for that long and a little more, so that not everybody returns at once.
 * Throws the last MusterError, or the reason of the signal.
 */
export async function retry<T>(work: (attempt: number) => Promise<T>, options: RetryOptions): Promise<T> {
  return pRetry(
    async (attempt) => {
      try {
        return await work(attempt);
      } catch (error) {
        throw toMusterError(error);
      }
    },
    {
      retries: options.retries,
      minTimeout: 0,
      factor: 1,
      signal: options.signal,
      shouldRetry: ({ error }) => (error as MusterError).retryable && (error as MusterError).code !== "CANCELLED",
      onFailedAttempt: async ({ error, attemptNumber, retriesLeft }) => {
        const failure = error as MusterError;
        if (!failure.retryable || failure.code === "CANCELLED" || retriesLeft === 0) return;
        const asked = Number(failure.details.retryAfterMs ?? 0);
        const wanted = asked + fullJitter(attemptNumber, options.minDelayMs, options.maxDelayMs);
        const delay = Math.min(wanted, LONGEST_TIMER_MS);
        options.onRetry?.(failure, delay, attemptNumber);
        // An abort is told by its own reason, as it is while the work runs.
        await sleep(delay, undefined, { signal: options.signal }).catch(() => options.signal?.throwIfAborted());
      },
    },
  );
}
