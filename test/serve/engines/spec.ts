import { type ModelSpec, plainVariant, type Variant } from "../../../src/model.ts";

/** A model that was chosen for this worker. */
export function spec(id: string, variant: Partial<Variant> = {}, change: Partial<ModelSpec> = {}): ModelSpec {
  return {
    id,
    task: "chat",
    required: true,
    license: null,
    gated: false,
    variant: plainVariant({
      id: "only",
      source: "huggingface",
      location: `org/${id}`,
      revision: "main",
      ...variant,
    }),
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
