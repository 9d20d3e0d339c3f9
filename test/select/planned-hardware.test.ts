import { expect, it } from "vitest";
import { plannedHardware } from "../../src/select/planned-hardware.ts";
import { gpu, machine } from "./machine.ts";

const sizes = (gpus: { memoryTotalMiB: number | null }[]) =>
  gpus.map(({ memoryTotalMiB }) => Math.floor(((memoryTotalMiB ?? 0) * 2 ** 20) / 1e9));

it("plans for the GPUs that are named, whatever is here", () => {
  const planned = plannedHardware(machine([gpu(6)]), [80, 80]);
  expect(sizes(planned.gpus)).toEqual([80, 80]);
  expect(planned.gpus.map(({ index }) => index)).toEqual([0, 1]);
  expect(planned.gpuVendor).toBe("nvidia");
  expect(plannedHardware(machine([gpu(6)]), [0])).toMatchObject({ gpus: [], gpuVendor: null });
});

it("plans for the GPUs of this machine where none are named, and for a usual one where there are none", () => {
  const here = machine([gpu(6)]);
  expect(plannedHardware(here, null).gpus).toEqual(here.gpus);
  expect(sizes(plannedHardware(machine([]), null).gpus)).toEqual([24]);
});

it("takes no less main memory than usual", () => {
  expect(plannedHardware(machine([], 0.5), null).memory.totalBytes).toBe(64e9);
  expect(plannedHardware(machine([], 256), null).memory.totalBytes).toBe(256 * 2 ** 30);
});
