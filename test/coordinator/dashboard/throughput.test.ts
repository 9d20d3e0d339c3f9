import fc from "fast-check";
import { expect, test } from "vitest";
import { THROUGHPUT, Throughput } from "../../../src/coordinator/dashboard/throughput.ts";

const { stepMs, points } = THROUGHPUT;

test("counts what ends in each step, by how it ended", () => {
  let now = 0;
  const throughput = new Throughput(() => now);
  throughput.ended("done");
  throughput.ended("failed");
  throughput.ended("queued");
  now = stepMs - 1;
  throughput.ended("done");
  now = 2 * stepMs;
  throughput.ended("cancelled");
  const all = throughput.points();
  expect(all).toHaveLength(points);
  expect(all.slice(-3)).toEqual([
    [2, 1, 0],
    [0, 0, 0],
    [0, 0, 1],
  ]);
});

test("what was given out does not change any more", () => {
  const throughput = new Throughput(() => 0);
  const before = throughput.points();
  throughput.ended("done");
  expect(before.at(-1)).toEqual([0, 0, 0]);
});

test("holds exactly what ended within its time, however it is asked", () => {
  const waits = fc.array(fc.integer({ min: 0, max: 3 * stepMs }), { maxLength: 60 });
  fc.assert(
    fc.property(waits, fc.integer({ min: 0, max: points + 10 }), (given, silence) => {
      let now = 0;
      const throughput = new Throughput(() => now);
      const steps = given.map((wait) => {
        now += wait;
        throughput.ended("done");
        return Math.floor(now / stepMs);
      });
      now += silence * stepMs;
      const first = Math.floor(now / stepMs) - points + 1;
      const kept = steps.filter((step) => step >= first).length;
      expect(throughput.points().reduce((sum, [done]) => sum + done, 0)).toBe(kept);
      expect(throughput.points()).toHaveLength(points);
    }),
  );
});
