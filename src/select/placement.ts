import type { Gpu, Hardware } from "../hardware.ts";
import type { Architecture, Variant, VariantFacts } from "../model.ts";
import {
  dtypeProblem,
  type FitQuestion,
  GIB,
  largestContext,
  memoryNeed,
  type Need,
  SHARED_OLLAMA_SHARE,
  splitProblem,
  VLLM_SHARE,
} from "./fit.ts";

/** The context planned for where nobody asks for another, and the least one worth serving. */
const USUAL_CONTEXT = 8192;
export const LEAST_CONTEXT = 2048;
/** The share of main memory that a model on the CPU may take. */
export const CPU_SHARE = 0.9;

/** What models already placed have taken: bytes reserved per GPU (index into Hardware.gpus), by engines that keep them. */
export type Reserved = ReadonlyMap<number, number>;

export interface Placement {
  ok: true;
  context: number | null;
  gpus: number[];
  reserved: Reserved;
  /** Bytes per GPU, or of main memory; null where nobody knows. */
  need: Need | null;
  reason: string;
}

export interface Misfit {
  ok: false;
  reason: string;
  needBytes: number | null;
  haveBytes: number | null;
  largestContext: number | null;
}

export interface PlacementQuestion {
  variant: Variant;
  facts: VariantFacts | null;
  /** Bytes of its adapters that are in memory beside it. */
  adapterBytes: number;
  /** Tokens asked for; null for the usual number. */
  context: number | null;
  /** Most tokens the model takes; null when it has no context (embeddings). */
  maxContext: number | null;
  hardware: Hardware;
  /** GPUs that may be used, as indices into Hardware.gpus; none: the CPU. */
  gpus: number[];
  reserved: Reserved;
}

/** Where the variant goes on this machine, with as much context as fits, or why it does not fit. */
export function place(question: PlacementQuestion): Placement | Misfit {
  const { variant, hardware, gpus } = question;
  if (gpus.length === 0) return placeOnCpu(question);
  if (gpus.length < variant.gpuCount) {
    return misfit(`needs ${variant.gpuCount} GPUs, ${gpus.length} ${gpus.length === 1 ? "is" : "are"} usable`);
  }
  const problem = splitProblem(shapeOf(question), variant.gpuCount);
  if (problem) return misfit(problem);
  const ranked = rankGpus(question);
  const able = ranked.filter((index) => gpuProblem(question, hardware.gpus[index]) === null);
  if (able.length < variant.gpuCount) {
    const unfit = ranked.find((index) => !able.includes(index));
    return misfit((unfit !== undefined && gpuProblem(question, hardware.gpus[unfit])) || "no GPU can run it");
  }
  const candidates = able.slice(0, variant.gpuCount);
  const totals = candidates.map((index) => totalBytes(hardware.gpus[index]));
  if (totals.some((total) => total === null)) {
    return placed(
      question,
      candidates,
      wantedContext(question),
      null,
      "the GPU's memory is unknown, so this was taken as declared",
    );
  }
  return placeByEstimate(question, candidates);
}

function placeByEstimate(question: PlacementQuestion, candidates: number[]): Placement | Misfit {
  const { variant, hardware, reserved } = question;
  const least = Math.min(
    ...candidates.map((index) => share(variant, totalBytes(hardware.gpus[index]) ?? 0, reserved.get(index) ?? 0)),
  );
  const where = candidates.map((index) => `GPU ${hardware.gpus[index]?.index}`).join(" and ");
  return fitContext(question, least, where, (context, need, reason) =>
    placed(question, candidates, context, need, reason),
  );
}

function placeOnCpu(question: PlacementQuestion): Placement | Misfit {
  const { variant, hardware } = question;
  if (variant.minGpuMemoryGb > 0) return misfit(`needs a GPU with ${variant.minGpuMemoryGb} GB, none is used`);
  if (variant.gpuCount > 1) return misfit(`needs ${variant.gpuCount} GPUs, none is used`);
  // On the CPU every engine keeps weights, KV cache and about a GiB of its own, as Ollama does on a GPU.
  const onCpu: PlacementQuestion = { ...question, variant: { ...variant, engine: "ollama" } };
  return fitContext(onCpu, hardware.memory.totalBytes * CPU_SHARE, "main memory", (context, need, reason) => ({
    ok: true,
    context,
    gpus: [],
    reserved: question.reserved,
    need,
    reason,
  }));
}

/** Tries the context asked for, then halves of it down to the least. */
function fitContext(
  question: PlacementQuestion,
  have: number,
  where: string,
  accept: (context: number | null, need: Need | null, reason: string) => Placement,
): Placement | Misfit {
  const { variant, facts } = question;
  const wanted = wantedContext(question);
  const weightsBytes = facts?.weightsBytes ?? variant.sizeBytes;
  if (weightsBytes === null) return accept(wanted, null, "its size is not known beforehand; taken as declared");
  const fit: FitQuestion = {
    engine: variant.engine,
    facts: {
      weightsBytes: weightsBytes + question.adapterBytes,
      projectorBytes: facts?.projectorBytes ?? 0,
      architecture: shapeOf(question),
    },
    context: wanted ?? 0,
    sequences: 1,
    tensorParallel: variant.engine === "ollama" ? 1 : variant.gpuCount,
  };
  const floor = Math.min(LEAST_CONTEXT, fit.context);
  for (let context = fit.context; context >= floor; context = Math.floor(context / 2)) {
    const need = memoryNeed({ ...fit, context });
    if (need.total <= have) {
      const shorter =
        wanted !== null && context < wanted ? ` with the context cut from ${wanted} to ${context} tokens` : "";
      return accept(
        wanted === null ? null : context,
        need,
        `needs ${gib(need.total)} of ${gib(have)} on ${where}${shorter}`,
      );
    }
    if (context === 0) break;
  }
  const need = memoryNeed(fit).total;
  const most = largestContext(fit, have);
  return {
    ok: false,
    reason: `needs ${gib(need)}, ${where} has ${gib(have)}${most > 0 ? ` (the largest context that fits is ${most} tokens)` : ""}`,
    needBytes: Math.ceil(need),
    haveBytes: Math.floor(have),
    largestContext: most,
  };
}

function wantedContext(question: PlacementQuestion): number | null {
  const shape = shapeOf(question);
  const caches = shape !== null && shape.attentionLayers + shape.windowedLayers > 0;
  const limit = question.maxContext ?? (caches ? shape.maxContext : null);
  return limit === null ? null : Math.min(question.context ?? USUAL_CONTEXT, limit);
}

/** What one GPU has for the variant: vLLM takes its share of the whole, Ollama what others left. */
export function share(variant: Pick<Variant, "engine">, total: number, reserved: number): number {
  if (variant.engine === "vllm") return VLLM_SHARE * total - reserved;
  return reserved > 0 ? SHARED_OLLAMA_SHARE * (total - reserved) : total;
}

function placed(
  question: PlacementQuestion,
  gpus: number[],
  context: number | null,
  need: Need | null,
  reason: string,
): Placement {
  const reserved = new Map(question.reserved);
  // Ollama loads and unloads as asked; vLLM and its like keep what they took.
  if (question.variant.engine !== "ollama") {
    for (const index of gpus) reserved.set(index, (reserved.get(index) ?? 0) + (need?.total ?? 0));
  }
  return { ok: true, context, gpus, reserved, need, reason };
}

/** Why this GPU cannot hold the variant, whatever else is on it; null where it can. */
function gpuProblem(question: PlacementQuestion, gpu: Gpu | undefined): string | null {
  const { variant } = question;
  if (variant.gpuCount > 1 && gpu?.mig) {
    return `needs ${variant.gpuCount} GPUs together, and a process gets one MIG device only`;
  }
  const dtype = variant.engine === "ollama" ? null : (shapeOf(question)?.dtype ?? null);
  return declaredShortfall(variant, gpu) ?? dtypeProblem(dtype, gpu?.computeCapability ?? null);
}

/** The source's own word on the model's shape wins over the catalog's. */
function shapeOf({ facts, variant }: PlacementQuestion): Architecture | null {
  return facts?.architecture ?? variant.architecture;
}

function rankGpus({ gpus, hardware, reserved }: PlacementQuestion): number[] {
  const left = (index: number) => (totalBytes(hardware.gpus[index]) ?? 0) - (reserved.get(index) ?? 0);
  return [...gpus].sort((a, b) => left(b) - left(a) || a - b);
}

function declaredShortfall(variant: Variant, gpu: Gpu | undefined): string | null {
  const total = totalBytes(gpu);
  if (total === null || total >= variant.minGpuMemoryGb * 1e9) return null;
  return `declares ${variant.minGpuMemoryGb} GB of GPU memory, GPU ${gpu?.index} has ${(total / 1e9).toFixed(1)} GB`;
}

export function totalBytes(gpu: Gpu | undefined): number | null {
  return gpu?.memoryTotalMiB == null ? null : gpu.memoryTotalMiB * 2 ** 20;
}

function misfit(reason: string): Misfit {
  return { ok: false, reason, needBytes: null, haveBytes: null, largestContext: null };
}

function gib(bytes: number): string {
  return `${(bytes / GIB).toFixed(1)} GiB`;
}
