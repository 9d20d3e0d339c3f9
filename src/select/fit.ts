import type { Architecture, Engine, VariantFacts } from "../model.ts";

/**
 * How much GPU memory a model needs, from sizes and shapes alone. All amounts are bytes per GPU.
 * Weights are the exact bytes of the files, never parameters times a type: quantized files keep parts in fp16.
 */

export const GIB = 2 ** 30;
/** The share of a GPU that vLLM is given (its gpu-memory-utilization). */
export const VLLM_SHARE = 0.9;
/** The share of what is left that Ollama may take beside another loaded model. */
export const SHARED_OLLAMA_SHARE = 0.8;

export interface FitQuestion {
  engine: Engine;
  facts: VariantFacts & { weightsBytes: number };
  /** Tokens per sequence; 0 for models without a context. */
  context: number;
  sequences: number;
  tensorParallel: number;
}

export interface Need {
  weights: number;
  kv: number;
  /** Activations, CUDA context, graphs: what the engine takes beside weights and KV cache. */
  overhead: number;
  total: number;
}

/** KV cache per GPU. Windowed layers hold their window at most; latent attention caches one vector a layer. */
export function kvCacheBytes(shape: Architecture, context: number, sequences: number, tensorParallel: number): number {
  const tokens = shape.attentionLayers * context + shape.windowedLayers * Math.min(context, shape.window);
  const perToken =
    shape.latentDim === null ? 2 * Math.ceil(shape.kvHeads / tensorParallel) * shape.headDim : shape.latentDim;
  return tokens * perToken * sequences * shape.kvBytes;
}

export function memoryNeed(question: FitQuestion): Need {
  const { facts, context, sequences, tensorParallel, engine } = question;
  const kv = facts.architecture ? kvCacheBytes(facts.architecture, context, sequences, tensorParallel) : 0;
  const weights = (facts.weightsBytes + facts.projectorBytes) / tensorParallel;
  const overhead = engine === "vllm" ? vllmOverhead(facts.architecture, tensorParallel) : GIB;
  return { weights, kv, overhead, total: weights + kv + overhead };
}

/** No model takes more tokens than this. */
const CONTEXT_LIMIT = 2 ** 24;
const CONTEXT_STEP = 256;

/** The most tokens per sequence that fit into `available` bytes, a multiple of 256; 0 when the weights alone do not fit. */
export function largestContext(question: FitQuestion, available: number): number {
  const shape = question.facts.architecture;
  if (!shape) return 0;
  let fits = 0;
  let tooMany = Math.floor((shape.maxContext ?? CONTEXT_LIMIT) / CONTEXT_STEP) + 1;
  while (tooMany - fits > 1) {
    const middle = Math.floor((fits + tooMany) / 2);
    if (memoryNeed({ ...question, context: middle * CONTEXT_STEP }).total <= available) fits = middle;
    else tooMany = middle;
  }
  return fits * CONTEXT_STEP;
}

/** Why the model cannot be split over that many GPUs, or null when it can. */
export function splitProblem(shape: Architecture | null, tensorParallel: number): string | null {
  if (!shape || tensorParallel === 1) return null;
  if (shape.heads % tensorParallel !== 0)
    return `${shape.heads} attention heads do not divide by ${tensorParallel} GPUs`;
  const group = shape.quantizationGroup;
  if (group && shape.intermediateSize && shape.intermediateSize % (group * tensorParallel) !== 0) {
    return `layers of ${shape.intermediateSize} in groups of ${group} do not divide by ${tensorParallel} GPUs`;
  }
  return null;
}

/** Why a GPU of this compute capability cannot run the type of the weights, or null when it can (or nobody knows). */
export function dtypeProblem(dtype: string | null, computeCapability: string | null): string | null {
  const least = dtype?.includes("fp8") || dtype?.includes("float8") ? 8.9 : dtype === "bfloat16" ? 8.0 : 0;
  if (least === 0 || computeCapability === null || Number(computeCapability) >= least) return null;
  return `${dtype} needs compute capability ${least.toFixed(1)}, the GPU has ${computeCapability}`;
}

const NCCL_SHARE: Record<number, number> = { 1: 1, 2: 0.5, 4: 0.2 };

function vllmOverhead(shape: Architecture | null, tensorParallel: number): number {
  const parameters = shape ? parameterCount(shape) : 0;
  // Measured: 1.0 GiB up to 14B parameters, 2.0 at 72B, less where several GPUs share the layers.
  const activation = 1 + Math.max(0, (parameters - 14e9) / 58e9) * (NCCL_SHARE[tensorParallel] ?? 0.1);
  const cudaContext = tensorParallel > 1 ? 0.8 : 0.5;
  const graphs = 1;
  return (activation + cudaContext + graphs) * GIB;
}

/** Roughly: attention and gated feed-forward of every layer. */
function parameterCount(shape: Architecture): number {
  const layers = shape.attentionLayers + shape.windowedLayers;
  const attention = shape.hiddenSize * shape.headDim * (2 * shape.heads + 2 * shape.kvHeads);
  return layers * (attention + 3 * shape.hiddenSize * (shape.intermediateSize ?? 4 * shape.hiddenSize));
}
