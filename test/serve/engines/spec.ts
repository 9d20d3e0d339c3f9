import type { ModelSpec, Variant } from "../../../src/model.ts";

/** A model that was chosen for this worker. */
export function spec(id: string, variant: Partial<Variant> = {}, change: Partial<ModelSpec> = {}): ModelSpec {
  return {
    id,
    task: "chat",
    required: true,
    license: null,
    gated: false,
    variant: {
      id: "only",
      source: "huggingface",
      location: `org/${id}`,
      revision: "main",
      format: "safetensors",
      quantization: null,
      engine: "vllm",
      minGpuMemoryGb: 0,
      gpuCount: 1,
      include: [],
      exclude: [],
      allowPickle: false,
      sizeBytes: null,
      architecture: null,
      adapters: [],
      ...variant,
    },
    context: 4096,
    slots: null,
    gpus: [],
    share: { gpuMemory: null, sequences: null },
    adapterOf: null,
    prompts: {},
    reason: "for a test",
    ...change,
  };
}
