import type { Gpu, Hardware } from "../hardware.ts";

/** What models are fetched for where nobody says more: the card that worker types are cut for, and main memory beside it. */
const USUAL_GPU_GB = 24;
const USUAL_MEMORY_BYTES = 64e9;
const PLENTY_BYTES = 4e12;

/**
 * The machine that models are fetched for ahead of time. Its GPUs are those that are named (gigabytes each; 0 is none),
 * else those of this machine, else a usual one. Main memory is never less than usual: fetching itself needs little of it.
 */
export function plannedHardware(here: Hardware, gpuMemoryGb: number[] | null): Hardware {
  const named = gpuMemoryGb ?? (here.gpus.length > 0 ? null : [USUAL_GPU_GB]);
  const gpus = named ? named.filter((gb) => gb > 0).map(namedGpu) : here.gpus;
  const totalBytes = Math.max(here.memory.totalBytes, USUAL_MEMORY_BYTES);
  return {
    ...here,
    gpus,
    gpuVendor: gpus[0]?.vendor ?? null,
    memory: { ...here.memory, totalBytes, availableBytes: totalBytes },
    warnings: named ? [] : here.warnings,
  };
}

/** A machine with so many cards of so many gigabytes, and main memory that is not what is short. */
export function machineWith(gpuMemoryGb: number, gpuCount: number): Hardware {
  return {
    gpus: Array.from({ length: gpuCount }, (_, index) => namedGpu(gpuMemoryGb, index)),
    gpuVendor: "nvidia",
    driverVersion: null,
    runtimeVersion: null,
    cpu: { model: "any", cores: 1 },
    memory: { totalBytes: PLENTY_BYTES, availableBytes: PLENTY_BYTES, limitBytes: null },
    warnings: [],
  };
}

function namedGpu(gb: number, index: number): Gpu {
  const memory = Math.ceil((gb * 1e9) / 2 ** 20);
  return {
    index,
    name: `a GPU of ${gb} GB`,
    uuid: `planned-${index}`,
    vendor: "nvidia",
    memoryTotalMiB: memory,
    memoryFreeMiB: memory,
    mig: false,
    unified: false,
    computeCapability: null,
  };
}
