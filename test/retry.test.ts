import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ErrorCode, MusterError } from "../src/errors.ts";
import { fullJitter, type RetryOptions, retry } from "../src/retry.ts";

const failure = (code: ErrorCode, details = {}) => new MusterError(code, code, { hint: "h", details });
const soon: RetryOptions = { retries: 3, minDelayMs: 0.01, maxDelayMs: 0.02 };

/** Work that fails with these errors, one an attempt, and then gives "done". */
function failing(...errors: unknown[]) {
  const attempts: number[] = [];
  const work = async (attempt: number) => {
    attempts.push(attempt);
    if (attempts.length <= errors.length) throw errors[attempts.length - 1];
    return "done";
  };
  return { work, attempts };
}

it("gives what the work gives, at the first attempt that does not fail", async () => {
  const { work, attempts } = failing(failure("STALLED"), failure("SERVER_ERROR"));
  expect(await retry(work, soon)).toBe("done");
  expect(attempts).toEqual([1, 2, 3]);
});

it("throws the last error when the attempts are used up", async () => {
  const last = failure("RATE_LIMITED");
  const { work, attempts } = failing(failure("STALLED"), failure("STALLED"), failure("STALLED"), last, last);
  await expect(retry(work, soon)).rejects.toBe(last);
  expect(attempts).toEqual([1, 2, 3, 4]);
});

it.each<[string, unknown, ErrorCode]>([
  ["a configuration error", failure("TOKEN_INVALID"), "TOKEN_INVALID"],
  ["a cancellation", failure("CANCELLED"), "CANCELLED"],
  ["an abort of its own", AbortSignal.abort().reason, "CANCELLED"],
  ["an unknown error", new TypeError("fetch failed"), "INTERNAL"],
  ["what is no error", "text", "INTERNAL"],
])("%s is not tried again", async (_what, error, code) => {
  const { work, attempts } = failing(error);
  const told: unknown[] = [];
  await expect(retry(work, { ...soon, onRetry: (each) => told.push(each) })).rejects.toMatchObject({ code });
  expect(attempts).toEqual([1]);
  expect(told).toEqual([]);
});

it("does not wait for a server that asks for more than is allowed", async () => {
  const error = new MusterError("RATE_LIMITED", "r", { hint: "h", details: { retryAfterMs: 600_000 } });
  const { work, attempts } = failing(error);
  await expect(retry(work, { ...soon, mostWaitMs: 5_000 })).rejects.toBe(error);
  expect(attempts).toEqual([1]);
});

it("tells of each delay, within the window of its attempt, and not of the last failure", async () => {
  const { work } = failing(...Array.from({ length: 5 }, () => failure("STALLED")));
  const told: [string, number, number][] = [];
  const options: RetryOptions = {
    retries: 4,
    minDelayMs: 1,
    maxDelayMs: 4,
    onRetry: (error, delayMs, attempt) => told.push([error.code, delayMs, attempt]),
  };
  await expect(retry(work, options)).rejects.toMatchObject({ code: "STALLED" });
  expect(told.map(([code, , attempt]) => [code, attempt])).toEqual([1, 2, 3, 4].map((attempt) => ["STALLED", attempt]));
  for (const [position, window] of [1, 2, 4, 4].entries()) {
    expect(told[position]![1]).toBeGreaterThanOrEqual(0);
    expect(told[position]![1]).toBeLessThan(window);
  }
});

describe("a server that said how long to wait", () => {
  it("is waited for that long, and a little more", async () => {
    const { work } = failing(failure("RATE_LIMITED", { retryAfterMs: 30 }));
    let delay = 0;
    const onRetry = (_error: MusterError, delayMs: number) => {
      delay = delayMs;
      // Timers fire in their order, however late.
      setTimeout(() => {
        earlierFired = true;
      }, 29);
    };
    let earlierFired = false;
    await retry(work, { ...soon, onRetry });
    expect(delay).toBeGreaterThanOrEqual(30);
    expect(delay).toBeLessThan(30.02);
    expect(earlierFired).toBe(true);
  });

  it("is not taken by surprise when that is longer than a timer can be", async () => {
    const { work, attempts } = failing(failure("RATE_LIMITED", { retryAfterMs: 1e12 }));
    const stop = new AbortController();
    const onRetry = (_error: MusterError, delayMs: number) => {
      expect(delayMs).toBe(2 ** 31 - 1);
      setImmediate(() => setImmediate(() => stop.abort(failure("CANCELLED"))));
    };
    await expect(retry(work, { ...soon, signal: stop.signal, onRetry })).rejects.toMatchObject({ code: "CANCELLED" });
    expect(attempts).toEqual([1]);
  });
});

describe("an abort is told by its own reason", () => {
  const reason = failure("LEASE_LOST");

  it("before the first attempt", async () => {
    const { work, attempts } = failing();
    await expect(retry(work, { ...soon, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(attempts).toEqual([]);
  });

  it("while the work runs", async () => {
    const stop = new AbortController();
    const work = async () => {
      stop.abort(reason);
      throw failure("STALLED");
    };
    await expect(retry(work, { ...soon, signal: stop.signal })).rejects.toBe(reason);
  });

  it("while it waits for the next attempt", async () => {
    const stop = new AbortController();
    const { work, attempts } = failing(failure("RATE_LIMITED", { retryAfterMs: 3_600_000 }));
    const options = { ...soon, signal: stop.signal, onRetry: () => void setImmediate(() => stop.abort(reason)) };
    await expect(retry(work, options)).rejects.toBe(reason);
    expect(attempts).toEqual([1]);
  });
});

it("full jitter lies between zero and a window that doubles up to its limit", () => {
  const delays = fc.integer({ min: 1, max: 100_000 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5000 }), delays, delays, (attempt, min, max) => {
      const delay = fullJitter(attempt, min, max);
      expect(delay).toBeGreaterThanOrEqual(0);
      expect(delay).toBeLessThan(Math.min(max, min * 2 ** (attempt - 1)));
    }),
  );
  // And it uses the whole of that window.
  const drawn = Array.from({ length: 1000 }, () => fullJitter(3, 1, 100));
  expect(Math.min(...drawn)).toBeLessThan(1);
  expect(Math.max(...drawn)).toBeGreaterThan(3);
});
