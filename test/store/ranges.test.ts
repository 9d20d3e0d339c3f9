import fc from "fast-check";
import { expect, it } from "vitest";
import { addRange, contiguousPrefix, gaps, type Range, totalBytes } from "../../src/store/ranges.ts";

const SIZE = 64;
const range = fc
  .tuple(fc.nat(SIZE), fc.nat(SIZE))
  .map(([a, b]): Range => ({ start: Math.min(a, b), end: Math.max(a, b) }));
const added = fc.array(range, { maxLength: 20 });
const listOf = (ranges: readonly Range[]) => ranges.reduce<Range[]>(addRange, []);

/** The same as a list of booleans, one a byte. */
function bitmapOf(ranges: readonly Range[]): boolean[] {
  const bitmap = new Array<boolean>(SIZE).fill(false);
  for (const { start, end } of ranges) bitmap.fill(true, start, end);
  return bitmap;
}

it("keeps a list sorted, disjoint and without seams, whatever is added in whatever order", () => {
  fc.assert(
    fc.property(added, (ranges) => {
      const list = listOf(ranges);
      expect(bitmapOf(list)).toEqual(bitmapOf(ranges));
      for (const [index, { start, end }] of list.entries()) {
        expect(start).toBeLessThan(end);
        if (index > 0) expect(start).toBeGreaterThan(list[index - 1]!.end);
      }
    }),
  );
});

it("does not change the list it adds to", () => {
  fc.assert(
    fc.property(added, range, (ranges, next) => {
      const list = listOf(ranges);
      const before = structuredClone(list);
      addRange(list, next);
      expect(list).toEqual(before);
    }),
  );
});

it("finds exactly what is missing of any range, in order", () => {
  fc.assert(
    fc.property(added, range, (ranges, within) => {
      const missing = gaps(listOf(ranges), within);
      const inside = bitmapOf([within]);
      expect(bitmapOf(missing)).toEqual(bitmapOf(ranges).map((held, at) => !held && inside[at]));
      for (const [index, { start, end }] of missing.entries()) {
        expect(end - start).toBeGreaterThan(0);
        if (index > 0) expect(start).toBeGreaterThan(missing[index - 1]!.end);
      }
    }),
  );
});

it("counts the bytes, and those from the start on", () => {
  fc.assert(
    fc.property(added, (ranges) => {
      const list = listOf(ranges);
      const bitmap = bitmapOf(ranges);
      expect(totalBytes(list)).toBe(bitmap.filter(Boolean).length);
      expect(contiguousPrefix(list)).toBe([...bitmap, false].indexOf(false));
    }),
  );
});

it("misses nothing of an empty file and all of an unbegun one", () => {
  expect(gaps([], { start: 0, end: 0 })).toEqual([]);
  expect(gaps([], { start: 0, end: 7 })).toEqual([{ start: 0, end: 7 }]);
});
