import fc from "fast-check";
import { expect, it } from "vitest";
import { WaitingRanges } from "../../../src/fetch/transfer/waiting-ranges.ts";

const now = 1000;

it("gives out each byte once, in the order of the file, in pieces no larger than asked for", () => {
  const ranges = fc.array(fc.nat(500), { maxLength: 20 }).map((edges) => {
    const sorted = [...new Set(edges)].toSorted((a, b) => a - b);
    return sorted.flatMap((start, index) =>
      index % 2 === 0 && sorted[index + 1] !== undefined ? [{ start, end: sorted[index + 1]! }] : [],
    );
  });
  fc.assert(
    fc.property(ranges, fc.integer({ min: 1, max: 60 }), fc.nat(), (list, most, turn) => {
      const waiting = new WaitingRanges();
      const split = list.length === 0 ? 0 : turn % list.length;
      waiting.add(list.slice(split), { failures: 0, notBefore: now });
      waiting.add(list.slice(0, split), { failures: 3, notBefore: 0 });
      const total = list.reduce((sum, { start, end }) => sum + end - start, 0);
      expect(waiting.bytes).toBe(total);
      let given = 0;
      let reached = 0;
      for (let next = waiting.take(most, now); next; next = waiting.take(most, now)) {
        expect(next.end - next.start).toBeLessThanOrEqual(most);
        expect(next.start).toBeGreaterThanOrEqual(reached);
        reached = next.end;
        given += next.end - next.start;
      }
      expect([given, waiting.bytes]).toEqual([total, 0]);
    }),
  );
});

it("leaves what is not due, and tells how often it was tried", () => {
  const waiting = new WaitingRanges();
  waiting.add([{ start: 0, end: 10 }], { failures: 2, notBefore: now + 1 });
  waiting.add([{ start: 10, end: 20 }], { failures: 1, notBefore: now });
  expect(waiting.take(100, now)).toMatchObject({ start: 10, end: 20, failures: 1 });
  expect(waiting.take(100, now)).toBeNull();
  expect(waiting.take(4, now + 1)).toMatchObject({ start: 0, end: 4, failures: 2 });
  expect(waiting.take(100, now + 1)).toMatchObject({ start: 4, end: 10, failures: 2 });
  waiting.add([{ start: 0, end: 10 }], { failures: 0, notBefore: 0 });
  waiting.clear();
  expect([waiting.bytes, waiting.take(1, now)]).toEqual([0, null]);
});
