import type { Gpu, Hardware } from "../hardware.ts";
import type { Variant, VariantFacts } from "../model.ts";
import {
  dtypeProblem,
  type FitQuestion,
  GIB,
  largestContext,
  memoryNeed,
  SHARED_OLLAMA_SHARE,
  splitProblem,
  VLLM_SHARE,
} from "./fit.ts";

/** The context planned for where nobody asks for another, and the least one worth serving. */
const USUAL_CONTEXT = 8192;
const LEAST_CONTEXT = 2048;
/** The share of main memory that a model on the CPU may take. */
const CPU_SHARE = 0.9;

/** What models already placed have taken: bytes reserved per GPU (index into Hardware.gpus), by engines that keep them. */
export type Reserved = ReadonlyMap<number, number>;

export interface Placement {
  ok: true;
  context: number | null;
  gpus: number[];
  reserved: Reserved;
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
  if (variant.gpuCount > 1 && gpus.some((index) => hardware.gpus[index]?.mig)) {
    return misfit(`needs ${variant.gpuCount} GPUs together, and a process gets one MIG device only`);
  }
  const problem = splitProblem(question.facts?.architecture ?? null, variant.gpuCount);
  if (problem) return misfit(problem);
  const candidates = rankGpus(question).slice(0, variant.gpuCount);
  const floor = candidates.find((index) => declaredShortfall(variant, hardware.gpus[index]));
  if (floor !== undefined) return misfit(declaredShortfall(variant, hardware.gpus[floor]) ?? "");
  if (variant.engine !== "ollama") {
    const dtype = question.facts?.architecture?.dtype ?? null;
    for (const index of candidates) {
      const unfit = dtypeProblem(dtype, hardware.gpus[index]?.computeCapability ?? null);
      if (unfit) return misfit(unfit);
    }
  }
  const totals = candidates.map((index) => totalBytes(hardware.gpus[index]));
  if (totals.some((total) => total === null)) {
    return placed(
      question,
      candidates,
      wantedContext(question),
      0,
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
  return fitContext(onCpu, hardware.memory.totalBytes * CPU_SHARE, "main memory", (context, _need, reason) => ({
    ok: true,
    context,
    gpus: [],
    reserved: question.reserved,
    reason,
  }));
}

/** Tries the context asked for, then halves of it down to the least. */
function fitContext(
  question: PlacementQuestion,
  have: number,
  where: string,
  accept: (context: number | null, need: number, reason: string) => Placement,
): Placement | Misfit {
  const { variant, facts } = question;
  const wanted = wantedContext(question);
  const weightsBytes = facts?.weightsBytes ?? variant.sizeBytes;
  if (weightsBytes === null) return accept(wanted, 0, "its size is not known beforehand; taken as declared");
  const fit: FitQuestion = {
    engine: variant.engine,
    facts: {
      weightsBytes,
      projectorBytes: facts?.projectorBytes ?? 0,
      architecture: facts?.architecture ?? variant.architecture,
    },
    context: wanted ?? 0,
    sequences: 1,
    tensorParallel: variant.engine === "ollama" ? 1 : variant.gpuCount,
  };
  const floor = Math.min(LEAST_CONTEXT, fit.context);
  for (let context = fit.context; context >= floor; context = Math.floor(context / 2)) {
    const need = memoryNeed({ ...fit, context }).total;
    if (need <= have) {
      const shorter =
        wanted !== null && context < wanted ? ` with the context cut from ${wanted} to ${context} tokens` : "";
      return accept(wanted === null ? null : context, need, `needs ${gib(need)} of ${gib(have)} on ${where}${shorter}`);
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

function wantedContext({ context, maxContext, facts, variant }: PlacementQuestion): number | null {
  const limit = maxContext ?? facts?.architecture?.maxContext ?? variant.architecture?.maxContext ?? null;
  if (maxContext === null && (limit === null || cachesNothing(facts))) return null;
  return Math.min(context ?? USUAL_CONTEXT, limit ?? USUAL_CONTEXT);
}

function cachesNothing(facts: VariantFacts | null): boolean {
  const shape = facts?.architecture;
  return shape ? shape.attentionLayers + shape.windowedLayers === 0 : true;
}

/** What one GPU has for the variant: vLLM takes its share of the whole, Ollama what others left. */
function share(variant: Variant, total: number, reserved: number): number {
  if (variant.engine === "vllm") return VLLM_SHARE * total - reserved;
  return reserved > 0 ? SHARED_OLLAMA_SHARE * (total - reserved) : total;
}

function placed(
  question: PlacementQuestion,
  gpus: number[],
  context: number | null,
  need: number,
  reason: string,
): Placement {
  const reserved = new Map(question.reserved);
  // Ollama loads and unloads as asked; vLLM and its like keep what they took.
  if (question.variant.engine !== "ollama") {
    for (const index of gpus) reserved.set(index, (reserved.get(index) ?? 0) + need);
  }
  return { ok: true, context, gpus, reserved, reason };
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
