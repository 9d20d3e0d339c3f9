/** The words for models that every step shares. */

export const SOURCES = ["huggingface", "ollama", "s3", "path"] as const;
export type Source = (typeof SOURCES)[number];

export const ENGINES = ["vllm", "ollama", "openai"] as const;
export type Engine = (typeof ENGINES)[number];

export const TASKS = ["chat", "completion", "vision", "ocr", "embedding", "rerank"] as const;
export type Task = (typeof TASKS)[number];

export const FORMATS = ["safetensors", "gguf", "pickle"] as const;
export type Format = (typeof FORMATS)[number];

export const JOB_KINDS = ["chat", "completion", "embedding", "ocr"] as const;
export type JobKind = (typeof JOB_KINDS)[number];

const KINDS_OF_TASK: Record<Task, readonly JobKind[]> = {
  chat: ["chat", "completion"],
  completion: ["completion"],
  vision: ["chat", "ocr"],
  ocr: ["chat", "ocr"],
  embedding: ["embedding"],
  rerank: [],
};

export function takesKind({ task }: Pick<ModelSpec, "task">, kind: JobKind): boolean {
  return KINDS_OF_TASK[task].includes(kind);
}

export const OCR_FORMATS = ["text", "markdown", "json"] as const;
export type OcrFormat = (typeof OCR_FORMATS)[number];

/** What a model is told to do with a page, by the format that is wanted, where it was trained with words of its own. */
export type OcrPrompts = Partial<Record<OcrFormat, string>>;

/** requested → fetching → stored → loading → ready, or failed from anywhere. */
export const MODEL_STATES = ["requested", "fetching", "stored", "loading", "ready", "failed"] as const;
export type ModelState = (typeof MODEL_STATES)[number];

/** One way to have a model: where it comes from, in which form, for which engine. */
export interface Variant {
  /** Unique within its model; shown in plans and logs. */
  id: string;
  source: Source;
  /** Where the source finds it: a hub repo id, an Ollama name, an s3:// URL, or a path. */
  location: string;
  revision: string;
  format: Format;
  quantization: string | null;
  engine: Engine;
  /** Declared floor, in gigabytes (10⁹ bytes) of GPU memory per GPU. */
  minGpuMemoryGb: number;
  /** GPUs that share the model by tensor parallelism. */
  gpuCount: number;
  include: string[];
  exclude: string[];
  /** Fetch pickled weights (.bin, .pth) where there is nothing safer; loading them can run code. */
  allowPickle: boolean;
  /** Bytes of the weights as the catalog knows them; the source's own answer wins. */
  sizeBytes: number | null;
  architecture: Architecture | null;
  adapters: Adapter[];
}

/** A variant that no catalog declares, with what is usual for its source. */
export function plainVariant(
  known: Pick<Variant, "id" | "source" | "location" | "revision"> & Partial<Variant>,
): Variant {
  const isOllama = known.source === "ollama";
  return {
    format: isOllama ? "gguf" : "safetensors",
    quantization: null,
    engine: isOllama ? "ollama" : "vllm",
    minGpuMemoryGb: 0,
    gpuCount: 1,
    include: [],
    exclude: [],
    allowPickle: false,
    sizeBytes: null,
    architecture: null,
    adapters: [],
    ...known,
  };
}

/** A LoRA adapter for a variant; fetched as a model of its own, served by its base's engine. */
export interface Adapter {
  /** What jobs name it. */
  id: string;
  license: string | null;
  variant: Variant;
}

/** What VRAM need depends on, read from config.json, a GGUF header, or declared in the catalog. */
export interface Architecture {
  /** Layers that hold a KV cache over the whole context. */
  attentionLayers: number;
  /** Layers that attend to a sliding window only, and that window in tokens. */
  windowedLayers: number;
  window: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  hiddenSize: number;
  /** Bytes per KV cache element: 2 for fp16/bf16, 1 for fp8. */
  kvBytes: number;
  /** Multi-head latent attention: elements cached per token and layer instead of 2·kvHeads·headDim; null without. */
  latentDim: number | null;
  maxContext: number | null;
  intermediateSize: number | null;
  /** Group size of a grouped quantization (GPTQ, AWQ); null without. */
  quantizationGroup: number | null;
  /** Numeric type of the weights, as the config names it (bfloat16, float16, fp8 …). */
  dtype: string | null;
}

/** What is known of a variant without its weights. */
export interface VariantFacts {
  weightsBytes: number | null;
  /** A vision projector beside the weights, bytes. */
  projectorBytes: number;
  architecture: Architecture | null;
  /** As the source says it; null or left out where that says none. */
  license?: string | null;
}

/** What an engine is to take of the machine for a model, so that all models of this worker fit beside each other. */
export interface ModelShare {
  /** The part of each of its GPUs' memory, 0 to 1; null where the plan does not bound it. */
  gpuMemory: number | null;
  /** Sequences at once; null where nothing says. */
  sequences: number | null;
}

/** A model chosen for this worker, in the variant that fits. */
export interface ModelSpec {
  id: string;
  task: Task;
  required: boolean;
  license: string | null;
  gated: boolean;
  variant: Variant;
  /** Tokens per sequence the plan reckons with; null where the task has none. */
  context: number | null;
  /** Concurrent jobs on this model; null: those of the worker type. */
  slots: number | null;
  /** Indices into Hardware.gpus; empty on the CPU. */
  gpus: number[];
  share: ModelShare;
  /** Its own words for ocr; empty for ours. */
  prompts: OcrPrompts;
  /** Of a LoRA adapter, the model that it goes on; null for models that stand by themselves. */
  adapterOf: string | null;
  /** Why this variant, in words. */
  reason: string;
  /** Asked for by a coordinator, not by the worker type; never required. */
  runTime?: boolean;
}

/** `git-sha1` is sha1("blob " + size + NUL + content), as git names its objects. */
export interface Digest {
  algorithm: "sha256" | "git-sha1";
  /** Lower case. */
  hex: string;
}

/** One file of a model at its source. */
export interface FileSpec {
  /** Relative, with forward slashes. */
  path: string;
  size: number;
  digest: Digest;
}

/** What makes a record that of a revision which is not the model's now, and is kept beside it. */
export interface KeptRevision {
  /** Key of the model's own record. */
  of: string;
  /** RFC 3339: when the model left this revision, or got it without taking it on. */
  since: string;
  /** Tokens of the holds of workers that may have it loaded; null: all that hold the model may. */
  usedBy: string[] | null;
}

/** The record of a model that is complete on the volume; written last. */
export interface StoredModel {
  key: string;
  source: Source;
  location: string;
  /** As asked for (a branch, a tag) and as pinned (a commit, a manifest digest). */
  requestedRevision: string;
  revision: string;
  /** Folder or name an engine is pointed at. */
  path: string;
  files: FileSpec[];
  /** The source's own text, where it is among the files; kept, so that the file can be written again. */
  manifest: string | null;
  bytes: number;
  license: string | null;
  /** As the catalog called it; records of older versions do not tell. */
  quantization: string | null;
  /** RFC 3339. */
  storedAt: string;
  /** Of a revision that is kept beside the model's; the model's own record has none. */
  kept?: KeptRevision | undefined;
}
