import { type MusterError, toMusterError } from "../errors.ts";
import type { Origin } from "./origin.ts";

export interface TryOptions {
  signal?: AbortSignal;
  /** The next one is about to be tried. */
  onFailover?: (error: MusterError, next: Origin) => void;
}

/** Those that failed lately are asked last, so that each file does not wait for the same dead host again. */
const failedAt = new WeakMap<Origin, number>();
const SHUN_MS = 60_000;

/**
 * Asks one origin after the other until one has an answer. A mirror may have what the first refuses (a gated model, a
 * model that is gone), so every error of a source leads on to the next; the first error is the one that is told. Errors
 * of this machine (its disk, a cancel) end it at once.
 */
export async function tryOrigins<T>(
  origins: readonly Origin[],
  work: (origin: Origin, isLast: boolean) => Promise<T>,
  { signal, onFailover }: TryOptions,
): Promise<T> {
  const now = performance.now();
  const isShunned = (origin: Origin) => now - (failedAt.get(origin) ?? -SHUN_MS) < SHUN_MS;
  const ordered = [...origins.filter((origin) => !isShunned(origin)), ...origins.filter(isShunned)];
  let first: unknown;
  for (const [index, origin] of ordered.entries()) {
    const next = ordered[index + 1];
    try {
      return await work(origin, next === undefined);
    } catch (error) {
      signal?.throwIfAborted();
      const failure = toMusterError(error);
      if (isOwnFault(failure)) throw error;
      first ??= error;
      if (failure.retryable) failedAt.set(origin, performance.now());
      if (next) onFailover?.(failure, next);
    }
  }
  throw first;
}

function isOwnFault({ code }: MusterError): boolean {
  return [
    "DISK_FULL",
    "QUOTA_EXCEEDED",
    "VOLUME_NOT_WRITABLE",
    "VOLUME_READ_ONLY",
    "LEASE_LOST",
    "PICKLE_REFUSED",
    "INTERNAL",
  ].includes(code);
}
