import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseRocmSmi } from "../../src/detect/rocm-smi.ts";
import { fixture } from "./fake-tools.ts";

const read = (name: string) => JSON.parse(readFileSync(fixture(`rocm-smi/${name}.json`), "utf8"));

test("a desktop card of ROCm 6.1", () => {
  expect(parseRocmSmi(read("rx6700xt-rocm612"))).toEqual({
    driverVersion: "6.3.6",
    rocmVersion: null,
    cards: [
      {
        index: 0,
        name: "Navi 22 [Radeon RX 6700/6700 XT / 6800M]",
        uniqueId: null,
        pciAddress: "0000:07:00.0",
        memoryTotalMiB: 12272,
        memoryFreeMiB: 10772,
      },
    ],
  });
});

test("four accelerators of ROCm 6.0, whose labels have other capitals", () => {
  const cards = parseRocmSmi(read("mi100-rocm602"))?.cards;
  expect(cards?.map((card) => card.index)).toEqual([0, 1, 2, 3]);
  expect(cards?.[1]).toEqual({
    index: 1,
    name: "Arcturus GL-XL [Instinct MI100]",
    uniqueId: "04edfb117a17a07d",
    pciAddress: "0000:A3:00.0",
    memoryTotalMiB: 32752,
    memoryFreeMiB: 32745,
  });
});

test("any JSON is understood or refused, never thrown at", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const answer = parseRocmSmi({ card0: value });
      return answer?.cards[0]?.memoryTotalMiB === null;
    }),
  );
  expect(parseRocmSmi([])).toBeNull();
  expect(parseRocmSmi(null)).toBeNull();
});
