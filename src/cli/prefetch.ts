import { MusterError } from "../errors.ts";
import type { ModelSpec } from "../model.ts";
import { type SelectContext, selectFor } from "../plan.ts";
import { plannedHardware } from "../select/planned-hardware.ts";
import type { Selection } from "../select/select-models.ts";
import type { Catalog, WorkerType } from "../select/worker-types.ts";
import { targetType } from "./targets.ts";

/** In place of a worker type: all of them. A catalog may have a type of this name, which this one goes before. */
const ALL = "all";

/**
 * What other machines would run (see {@link plannedHardware}): the models of each worker type in the variants that fit
 * there, each once. Of `all`, what fits nowhere is left out with a notice, and no model is required.
 */
export async function selectForOthers(names: string[], context: SelectContext, catalog: Catalog): Promise<Selection> {
  const { config, log } = context;
  const hardware = plannedHardware(context.hardware, config.planGpuMemoryGb);
  const gpus = hardware.gpus.map(({ name }) => name).join(", ") || "no GPU";
  log.info(`Fetching for machines with ${gpus}; PLAN_GPU_MEMORY_GB names others`);
  const wantsAll = (names[0] ?? config.workerType) === ALL && names.length <= 1;
  const types = wantsAll
    ? [...catalog.workerTypes.values()].filter(({ id }) => id !== ALL)
    : [targetType(names, catalog, config.workerType)];
  const selections: Selection[] = [];
  const notices: string[] = [];
  let misfit: MusterError | null = null;
  for (const type of types) {
    try {
      selections.push(await selectFor(type, { ...context, hardware }, catalog));
    } catch (error) {
      if (!wantsAll || !isMisfit(error)) throw error;
      misfit = error;
      notices.push(`Worker type ${type.id} is left out: ${error.message}`);
    }
  }
  if (selections.length === 0 && misfit) throw misfit;
  return {
    workerType: wantsAll ? allOf(types) : selections[0]!.workerType,
    models: distinct(selections.flatMap(({ models }) => models)).map((spec) =>
      wantsAll ? { ...spec, required: false } : spec,
    ),
    refused: selections.flatMap(({ refused }) => refused),
    notices: [...new Set([...notices, ...selections.flatMap((selection) => selection.notices)])],
  };
}

function isMisfit(error: unknown): error is MusterError {
  return error instanceof MusterError && (error.code === "NOTHING_FITS" || error.code === "GPU_REQUIRED");
}

function allOf(types: WorkerType[]): WorkerType {
  const models = types.flatMap((type) => type.models);
  return { id: ALL, gpu: "preferred", minGpuMemoryGb: 0, models, fallback: null, slots: {}, engineSettings: {} };
}

function distinct(specs: ModelSpec[]): ModelSpec[] {
  return [...new Map(specs.map((spec) => [JSON.stringify([spec.id, spec.variant.id]), spec])).values()];
}
