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
  /** A server that asks for a longer wait is not waited for: its error is thrown. Any wait where this is left out. */
  mostWaitMs?: number;
  signal?: AbortSignal;
  onRetry?: (error: MusterError, delayMs: number, attempt: number) => void;
}

/** A timer that is set for longer fires at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** Where another server could answer, one that asks for a longer wait is not waited for. */
export const LONG_WAIT_MS = 5_000;

/** Milliseconds for which the server that sent this error wants to be left alone. */
export function askedWait({ details }: MusterError): number {
  return Number(details.retryAfterMs ?? 0);
}

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
      shouldRetry: ({ error }) => isWorthRetry(error as MusterError, options),
      onFailedAttempt: async ({ error, attemptNumber, retriesLeft }) => {
        const failure = error as MusterError;
        if (!isWorthRetry(failure, options) || retriesLeft === 0) return;
        const wanted = askedWait(failure) + fullJitter(attemptNumber, options.minDelayMs, options.maxDelayMs);
        const delay = Math.min(wanted, LONGEST_TIMER_MS);
        options.onRetry?.(failure, delay, attemptNumber);
        // An abort is told by its own reason, as it is while the work runs.
        await sleep(delay, undefined, { signal: options.signal }).catch(() => options.signal?.throwIfAborted());
      },
    },
  );
}

function isWorthRetry(failure: MusterError, { mostWaitMs = Number.POSITIVE_INFINITY }: RetryOptions): boolean {
  return failure.retryable && failure.code !== "CANCELLED" && askedWait(failure) <= mostWaitMs;
}
