import type { Gpu, Hardware } from "../../src/hardware.ts";
import { type Architecture, plainVariant, type Variant, type VariantFacts } from "../../src/model.ts";
import { GIB } from "../../src/select/fit.ts";
import { type SelectInput, type Selection, selectModels } from "../../src/select/select-models.ts";
import type { Catalog, CatalogModel, ModelReference, WorkerType } from "../../src/select/worker-types.ts";

/** Hardware and catalogs for tests, small enough to read in the test. */

export function gpu(memoryGib: number | null, change: Partial<Gpu> = {}): Gpu {
  const memory = memoryGib === null ? null : memoryGib * 1024;
  return {
    index: 0,
    name: "Test GPU",
    uuid: "GPU",
    vendor: "nvidia",
    memoryTotalMiB: memory,
    memoryFreeMiB: memory,
    mig: false,
    unified: false,
    computeCapability: "8.6",
    ...change,
  };
}

export function machine(gpus: Gpu[], memoryGib = 64): Hardware {
  return {
    gpus: gpus.map((each, index) => ({ ...each, index })),
    gpuVendor: gpus.length > 0 ? "nvidia" : null,
    driverVersion: null,
    runtimeVersion: null,
    cpu: { model: "Test CPU", cores: 8 },
    memory: { totalBytes: memoryGib * GIB, availableBytes: memoryGib * GIB, limitBytes: null },
    warnings: [],
  };
}

/** A Mistral-7B: 128 KiB of KV cache per token. */
export const SHAPE: Architecture = {
  attentionLayers: 32,
  windowedLayers: 0,
  window: 0,
  heads: 32,
  kvHeads: 8,
  headDim: 128,
  hiddenSize: 4096,
  kvBytes: 2,
  latentDim: null,
  maxContext: 32_768,
  intermediateSize: 14_336,
  quantizationGroup: null,
  dtype: "float16",
};

/** A vLLM variant of that shape with so many GiB of weights; null: nobody knows. */
export function variant(id: string, weightsGib: number | null, change: Partial<Variant> = {}): Variant {
  return plainVariant({
    id,
    source: "huggingface",
    location: `acme/${id}`,
    revision: "main",
    sizeBytes: weightsGib === null ? null : weightsGib * GIB,
    architecture: SHAPE,
    ...change,
  });
}

export function model(id: string, variants: Variant[], change: Partial<CatalogModel> = {}): CatalogModel {
  return { id, task: "chat", license: null, gated: false, contextLength: 32_768, prompts: {}, variants, ...change };
}

export function wants(wanted: CatalogModel, change: Partial<ModelReference> = {}): ModelReference {
  return { model: wanted, optional: false, when: {}, context: null, slots: null, ...change };
}

export function workerType(models: ModelReference[], change: Partial<WorkerType> = {}): WorkerType {
  return {
    id: "chat",
    gpu: "required",
    minGpuMemoryGb: 0,
    models,
    fallback: null,
    slots: {},
    engineSettings: {},
    ...change,
  };
}

export interface Question extends Partial<Omit<SelectInput, "catalog" | "factsOf">> {
  hardware: Hardware;
  workerType: WorkerType;
  /** Types that may be fallen back to. */
  others?: WorkerType[];
  facts?: (variant: Variant) => VariantFacts | null;
}

export function choose({ others = [], facts = () => null, ...rest }: Question): Selection {
  const types = [rest.workerType, ...others].map((type): [string, WorkerType] => [type.id, type]);
  const catalog: Catalog = { models: new Map(), workerTypes: new Map(types) };
  return selectModels({ catalog, enableGpu: "auto", minGpuMemoryGb: null, factsOf: facts, ...rest });
}

/** What was chosen, in short: model, variant, context, GPUs. */
export function chosen({ models }: Selection): string[] {
  return models.map(({ id, variant: { id: taken }, context, gpus }) =>
    [id, taken, context ?? "-", gpus.length > 0 ? `on ${gpus.join("+")}` : "on the CPU"].join(" "),
  );
}
