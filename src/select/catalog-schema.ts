import * as z from "zod";
import { ENGINES, FORMATS, JOB_KINDS, OCR_FORMATS, SOURCES, TASKS } from "../model.ts";

/** The form of worker-types.json. docs/worker-types.schema.json is generated from it. */

const id = z.string().regex(/^[\w][\w.:-]*$/, "letters, digits, dots, colons, dashes and underscores");
const gigabytes = z.number().nonnegative();
const globs = z.array(z.string().min(1));

const architecture = z.strictObject({
  attentionLayers: z.int().nonnegative(),
  windowedLayers: z.int().nonnegative().default(0),
  window: z.int().nonnegative().default(0),
  heads: z.int().positive(),
  kvHeads: z.int().positive(),
  headDim: z.int().positive(),
  hiddenSize: z.int().positive(),
  intermediateSize: z.int().positive().nullable().default(null),
  kvBytes: z.number().positive().default(2),
  latentDim: z.int().positive().nullable().default(null),
  maxContext: z.int().positive().nullable().default(null),
  quantizationGroup: z.int().positive().nullable().default(null),
  dtype: z.string().nullable().default(null),
});

/** Where something is had from, and what of it. */
const origin = {
  repo: z
    .string()
    .regex(/^[\w.-]+(\/[\w.-]+)?$/, "org/name")
    .optional()
    .describe("Hub repository; with source huggingface."),
  url: z.string().startsWith("s3://", "s3://bucket/prefix").optional().describe("s3://bucket/prefix; with source s3."),
  path: z.string().min(1).optional().describe("Folder or file:// URL; with source path."),
  revision: z
    .string()
    .min(1)
    .default("main")
    .describe("Branch, tag or commit; with source ollama the digest of a manifest."),
  format: z.enum(FORMATS).optional().describe("safetensors; gguf with source ollama."),
  include: globs.default([]).describe("Globs of the files to fetch, in place of the built-in choice."),
  exclude: globs.default([]),
  allowPickle: z.boolean().default(false).describe("Fetch pickled weights where there is nothing safer."),
  sizeBytes: z.int().nonnegative().nullable().default(null),
};

/** The field that says where a source has the model. */
export const LOCATION_FIELDS = { huggingface: "repo", ollama: "name", s3: "url", path: "path" } as const;

type Located = { source: keyof typeof LOCATION_FIELDS } & { [Field in "repo" | "name" | "url" | "path"]?: string };

function requireLocation(value: Located, context: z.RefinementCtx): void {
  const field = LOCATION_FIELDS[value.source];
  if (value[field] !== undefined) return;
  context.addIssue({
    code: "custom",
    path: [field],
    message: `is missing; allowed: a ${field}, because source is ${value.source}`,
    input: undefined,
  });
}

const adapter = z
  .strictObject({
    name: id.describe("What jobs name it."),
    source: z.enum(SOURCES).exclude(["ollama"]),
    license: z.string().nullable().default(null).describe("SPDX identifier, or the hub's name for it."),
    ...origin,
  })
  .superRefine(requireLocation);

const variant = z
  .strictObject({
    id: id.optional().describe("Unique within the model; made from source, location and revision where it is missing."),
    source: z.enum(SOURCES),
    name: z.string().min(1).optional().describe("Ollama name such as llava:7b; with source ollama."),
    ...origin,
    quantization: z.string().min(1).nullable().default(null),
    engine: z.enum(ENGINES),
    minGpuMemoryGb: gigabytes.default(0).describe("Least GPU memory, gigabytes of 10⁹ bytes, on each of its GPUs."),
    gpuCount: z.int().positive().max(64).default(1).describe("GPUs that share the model by tensor parallelism."),
    architecture: architecture.nullable().default(null),
    adapters: z
      .array(adapter)
      .default([])
      .describe("LoRA adapters, served beside the model under their own names; with engines vllm and ollama."),
  })
  .superRefine((value, context) => {
    requireLocation(value, context);
    if (value.adapters.length === 0 || value.engine !== "openai") return;
    context.addIssue({
      code: "custom",
      path: ["adapters"],
      message: "cannot be given to an engine of kind openai; allowed: adapters with engine vllm or ollama",
      input: undefined,
    });
  });

const model = z.strictObject({
  description: z.string().optional(),
  task: z.enum(TASKS),
  license: z.string().nullable().default(null).describe("SPDX identifier, or the hub's name for it."),
  gated: z.boolean().default(false).describe("Access has to be asked for at the source."),
  contextLength: z.int().positive().nullable().default(null).describe("Most tokens the model takes."),
  sizeBytes: z.int().nonnegative().nullable().default(null),
  prompts: z
    .partialRecord(z.enum(OCR_FORMATS), z.string().min(1))
    .default({})
    .describe("What an ocr model is told to do with a page, by format, in place of the built-in words."),
  variants: z.array(variant).min(1).describe("Best first; the first that fits is taken."),
});

const when = z.strictObject({
  minGpuMemoryGb: gigabytes.optional().describe("Of the largest GPU."),
  maxGpuMemoryGb: gigabytes.optional().describe("The largest GPU has less than this."),
  minTotalGpuMemoryGb: gigabytes.optional().describe("Of all GPUs together."),
  maxTotalGpuMemoryGb: gigabytes.optional().describe("All GPUs together have less than this."),
  minGpuCount: z.int().positive().optional(),
  minMemoryGb: gigabytes.optional().describe("Main memory."),
  gpu: z.boolean().optional().describe("Whether a GPU is used at all."),
});

const modelReference = z.union([
  id,
  z.strictObject({
    model: id,
    optional: z.boolean().default(false),
    when: when.default({}),
    context: z
      .int()
      .positive()
      .optional()
      .describe("Tokens per sequence to plan for; 8192 where the model takes as many."),
    slots: z.int().positive().optional().describe("Concurrent jobs on this model."),
  }),
]);

const workerType = z.strictObject({
  description: z.string().optional(),
  gpu: z.enum(["required", "preferred", "none"]),
  minGpuMemoryGb: gigabytes.default(0).describe("GPUs with less are not used."),
  models: z.array(modelReference).min(1),
  fallback: id.optional().describe("Worker type taken where this one cannot run."),
  slots: z.partialRecord(z.enum(JOB_KINDS), z.int().positive()).default({}).describe("Concurrent jobs per kind."),
  engineSettings: z
    .record(
      z.string().regex(/^[A-Za-z][\w-]*$/, "an argument or a variable"),
      z.union([z.string(), z.number(), z.boolean()]),
    )
    .default({})
    .describe(
      "For the engine that muster starts: NAMES_LIKE_THIS are variables of its environment, names-like-this arguments of `vllm serve` (true stands alone, false is --no-…). They win over what the plan derives; what the operator gives wins over them.",
    ),
});

export const catalogSchema = z.strictObject({
  $schema: z.string().optional(),
  models: z.record(id, model),
  workerTypes: z.record(id, workerType),
});

/** An overlay may leave either part out. */
export const overlaySchema = catalogSchema.partial();

export type CatalogDocument = z.output<typeof catalogSchema>;
export type ModelEntry = CatalogDocument["models"][string];
export type VariantEntry = ModelEntry["variants"][number];
export type AdapterEntry = VariantEntry["adapters"][number];
export type WorkerTypeEntry = CatalogDocument["workerTypes"][string];
export type Condition = z.output<typeof when>;

/** The JSON Schema of a catalog file, for editors and other tools: docs/worker-types.schema.json. */
export function catalogJsonSchema(): object {
  return { title: "muster worker-types.json", ...z.toJSONSchema(catalogSchema, { io: "input" }) };
}
