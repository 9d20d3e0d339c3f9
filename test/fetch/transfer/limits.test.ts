import { describe, expect, it } from "vitest";
import { createLimits, createPace, delayFor, leavePlace, takePlace } from "../../../src/fetch/transfer/limits.ts";

describe("places", () => {
  it("are as many as there are, and come back", () => {
    const limits = createLimits(2, createPace(null));
    expect([takePlace(limits), takePlace(limits), takePlace(limits)]).toEqual([true, true, false]);
    leavePlace(limits);
    expect([takePlace(limits), takePlace(limits)]).toEqual([true, false]);
    expect(takePlace(createLimits(0, createPace(null)))).toBe(false);
  });
});

describe("the bandwidth", () => {
  it("without a limit makes nobody wait", () => {
    expect(delayFor(2 ** 40, createPace(null))).toBe(0);
  });

  it("is shared: what one took the next one waits for", () => {
    const pace = createPace(1_000_000);
    const begin = performance.now();
    const delays = Array.from({ length: 50 }, () => delayFor(10_000, pace));
    const elapsed = performance.now() - begin;
    // Each is told to wait until its own bytes are paid for, after all that came before.
    for (const [index, delay] of delays.entries()) {
      expect(delay).toBeLessThanOrEqual((index + 1) * 10 + 0.01);
      expect(delay).toBeGreaterThanOrEqual((index + 1) * 10 - elapsed - 0.01);
    }
  });

  it("is not saved up while nothing comes", () => {
    const pace = createPace(1_000);
    // Free since the machine was started.
    expect(pace.clock[0]).toBe(0n);
    expect(delayFor(1_000, pace)).toBeCloseTo(1_000, 3);
  });
});
