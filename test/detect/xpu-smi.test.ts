import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseXpuDetails, parseXpuDiscovery } from "../../src/detect/xpu-smi.ts";
import { fixture } from "./fake-tools.ts";

const read = (name: string) => JSON.parse(readFileSync(fixture(`xpu-smi/${name}.json`), "utf8"));

test("lists physical devices", () => {
  expect(parseXpuDiscovery(read("discovery"))).toEqual([
    {
      id: 0,
      name: "Intel(R) Data Center GPU Max 1550",
      uuid: "00000000-0000-000a-0000-002f0bd58086",
      pciAddress: "0000:4d:00.0",
    },
    expect.objectContaining({ id: 1 }),
  ]);
  expect(parseXpuDiscovery({ error: "Level Zero Initialization Error", errno: 1 })).toBeNull();
});

test("free memory is the total less what the tiles use", () => {
  const free = (137438953472 - 128.5 * 1024 * 1024) as number;
  expect(parseXpuDetails({ discovery: read("device"), stats: read("stats") })).toEqual({
    driverVersion: "1.3.27642.40",
    memoryTotalBytes: 137438953472,
    memoryFreeBytes: free,
  });
});

test("without statistics it is what discovery says", () => {
  const details = parseXpuDetails({ discovery: read("device"), stats: { error: "denied" } });
  expect(details.memoryFreeBytes).toBe(137300000000);
  const silent = parseXpuDetails({ discovery: { memory_physical_size_byte: "" }, stats: null });
  expect(silent).toEqual({ driverVersion: null, memoryTotalBytes: null, memoryFreeBytes: null });
});

test("any JSON is understood or refused, never thrown at", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (one, other) => {
      parseXpuDiscovery({ device_list: [one] });
      parseXpuDiscovery(one);
      return typeof parseXpuDetails({ discovery: one, stats: other }) === "object";
    }),
  );
});
