import { setTimeout as sleep } from "node:timers/promises";
import { type MusterError, toMusterError } from "../errors.ts";
import { askedWait, LONG_WAIT_MS, LONGEST_TIMER_MS } from "../retry.ts";
import type { Origin } from "./origin.ts";

export interface TryOptions {
  signal?: AbortSignal;
  /** The next one is about to be tried. */
  onFailover?: (error: MusterError, next: Origin) => void;
  /** Nobody else is left, and this one has asked to be left alone for so long. */
  onWait?: (origin: Origin, waitMs: number) => void;
}

/** Those that failed lately are asked last, so that each file does not wait for the same dead host again. */
const failedAt = new WeakMap<Origin, number>();
const SHUN_MS = 60_000;
/** When those that asked for a long wait want to be asked again. */
const restsUntil = new WeakMap<Origin, number>();

/**
 * Asks one origin after the other until one has an answer. A mirror may have what the first refuses (a gated model, a
 * model that is gone), so every error of a source leads on to the next; the first error is the one that is told. Errors
 * of this machine (its disk, a cancel) end it at once. Who asks for a long wait (Retry-After) is left alone for that
 * time, and waited for only where nobody else has an answer. `isPatient`: this one is worth waiting for.
 */
export async function tryOrigins<T>(
  origins: readonly Origin[],
  work: (origin: Origin, isPatient: boolean) => Promise<T>,
  { signal, onFailover, onWait }: TryOptions,
): Promise<T> {
  const failures: unknown[] = [];
  const fail = (origin: Origin, error: unknown): MusterError => {
    signal?.throwIfAborted();
    const failure = toMusterError(error);
    if (isOwnFault(failure)) throw error;
    failures.push(error);
    if (failure.retryable) failedAt.set(origin, performance.now());
    if (askedWait(failure) > LONG_WAIT_MS) restsUntil.set(origin, performance.now() + askedWait(failure));
    return failure;
  };
  const ready = origins.filter((origin) => restOf(origin) === 0);
  const ordered = [...ready.filter((origin) => !isShunned(origin)), ...ready.filter(isShunned)];
  const later = origins.filter((origin) => restOf(origin) > 0);
  for (const [index, origin] of ordered.entries()) {
    const next = ordered[index + 1];
    const isPatient = !next && later.length === 0;
    try {
      return await work(origin, isPatient);
    } catch (error) {
      const failure = fail(origin, error);
      if (!isPatient && (restOf(origin) > 0 || (!next && failure.retryable))) later.push(origin);
      if (next) onFailover?.(failure, next);
    }
  }
  for (const origin of later.toSorted((a, b) => restOf(a) - restOf(b))) {
    const rest = restOf(origin);
    if (rest > 0) onWait?.(origin, rest);
    await sleep(Math.min(rest, LONGEST_TIMER_MS), undefined, { signal }).catch(() => signal?.throwIfAborted());
    try {
      return await work(origin, true);
    } catch (error) {
      fail(origin, error);
    }
  }
  throw failures[0];
}

export function waitNote({ name }: Origin, waitMs: number): string {
  return `${name} asked not to be asked for another ${Math.ceil(waitMs / 1000)} s, and no other place is left: waiting`;
}

function isShunned(origin: Origin): boolean {
  return performance.now() - (failedAt.get(origin) ?? -SHUN_MS) < SHUN_MS;
}

/** Milliseconds for which it wants to be left alone. */
function restOf(origin: Origin): number {
  return Math.max(0, (restsUntil.get(origin) ?? 0) - performance.now());
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
