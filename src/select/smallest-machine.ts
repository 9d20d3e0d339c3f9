import { toMusterError } from "../errors.ts";
import { machineWith } from "./planned-hardware.ts";
import { selectModels } from "./select-models.ts";
import { CARDS_GB } from "./smallest-card.ts";
import type { WorkerType } from "./worker-types.ts";

/** Cards in a machine, as they are built. */
const COUNTS = [1, 2, 4, 8];

/** The least that a worker type's required models fit on together, by the catalog's word alone. */
export type SmallestMachine = { gpuMemoryGb: number; gpuCount: number } | { reason: string };

/** Null where no card is needed, or none helps to tell. */
export function smallestMachine(type: WorkerType): SmallestMachine | null {
  const required = { ...type, models: type.models.filter(({ optional }) => !optional), fallback: null };
  if (required.models.length === 0) return null;
  let reason = "";
  const fits = (gpuMemoryGb: number, gpuCount: number) => {
    try {
      selectModels({
        catalog: { models: new Map(), workerTypes: new Map() },
        workerType: required,
        hardware: machineWith(gpuMemoryGb, gpuCount),
        enableGpu: "auto",
        minGpuMemoryGb: null,
        factsOf: () => null,
      });
      return true;
    } catch (error) {
      reason = toMusterError(error).message;
      return false;
    }
  };
  if (type.gpu !== "required" && fits(0, 0)) return null;
  if (type.gpu === "none") return { reason };
  for (const gpuCount of COUNTS) {
    const gpuMemoryGb = CARDS_GB.find((gb) => fits(gb, gpuCount));
    if (gpuMemoryGb !== undefined) return { gpuMemoryGb, gpuCount };
  }
  return { reason };
}
