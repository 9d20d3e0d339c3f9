import fc from "fast-check";
import { expect, it } from "vitest";
import { partSize } from "../../../src/fetch/push/bucket-target.ts";
import { ByteBudget } from "../../../src/fetch/push/byte-budget.ts";

it("never lets more be held than there is, and lets everybody have a turn, in order", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 150 }), { maxLength: 40 }), async (wants) => {
      const budget = new ByteBudget(100);
      let held = 0;
      const served: number[] = [];
      await Promise.all(
        wants.map(async (bytes, index) => {
          const release = await budget.take(bytes);
          const counted = Math.min(100, bytes);
          held += counted;
          served.push(index);
          expect(held).toBeLessThanOrEqual(100);
          await Promise.resolve();
          held -= counted;
          release();
        }),
      );
      expect(served).toEqual(wants.map((_, index) => index));
    }),
  );
});

it("cuts files of any size into at most 10000 parts of at least 8 MiB", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 5 * 10 ** 12 }), (size) => {
      const length = partSize(size);
      expect(length).toBeGreaterThanOrEqual(8 << 20);
      expect(Math.ceil(size / length)).toBeLessThanOrEqual(10_000);
    }),
  );
});
