import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseAmdSmi } from "../../src/detect/amd-smi.ts";
import { fixture } from "./fake-tools.ts";

const read = (name: string) => JSON.parse(readFileSync(fixture(`amd-smi/${name}.json`), "utf8"));

test("joins facts, memory in use and versions", () => {
  const answer = parseAmdSmi({ static: read("static"), metric: read("metric"), version: read("version") });
  expect(answer).toEqual({
    driverVersion: "6.12.12",
    rocmVersion: "6.4.2",
    cards: [
      {
        index: 0,
        name: "AMD Instinct MI300X",
        uniqueId: "6f1f0a2b3c4d5e6f",
        pciAddress: "0000:05:00.0",
        memoryTotalMiB: 196592,
        memoryFreeMiB: 196307,
      },
      {
        index: 1,
        name: "AMD Instinct MI300X",
        uniqueId: "06e3a9a2dc3c2d11",
        pciAddress: "0000:26:00.0",
        memoryTotalMiB: 196592,
        memoryFreeMiB: null,
      },
    ],
  });
});

test("reads the older form, with nothing but the facts", () => {
  const answer = parseAmdSmi({ static: read("static-rocm60"), metric: null, version: "no" });
  expect(answer).toMatchObject({ driverVersion: "6.3.6", rocmVersion: null });
  expect(answer?.cards).toEqual([
    { index: 0, name: "MI210", uniqueId: null, pciAddress: "0000:C1:00.0", memoryTotalMiB: 65520, memoryFreeMiB: null },
  ]);
});

test.each([
  [{ value: 192, unit: "GB" }, 196608],
  ["16368 MB", 16368],
  [16368, 16368],
  ["N/A", null],
  [null, null],
])("memory %j", (size, expected) => {
  const answer = parseAmdSmi({ static: [{ gpu: 0, vram: { size } }], metric: null, version: null });
  expect(answer?.cards[0]?.memoryTotalMiB).toBe(expected);
});

test("any JSON is understood or refused, never thrown at", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (one, other) => {
      const answer = parseAmdSmi({ static: [one], metric: other, version: other });
      return answer === null || answer.cards.length === 1;
    }),
  );
  expect(parseAmdSmi({ static: { error: "no driver" }, metric: null, version: null })).toBeNull();
});
