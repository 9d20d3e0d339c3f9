import { MusterError } from "../errors.ts";
import type { ModelSpec, Variant, VariantFacts } from "../model.ts";
import { CPU_SHARE, place } from "./placement.ts";
import { type Refusal, refusal, unwanted } from "./refusals.ts";
import { adapterBytes, type SelectInput, toSpecs, usableGpus } from "./select-models.ts";
import type { CatalogModel, ModelReference } from "./worker-types.ts";

/**
 * One model more, in the first of its variants that fits into what the placed ones leave; none of these gives way. Those on
 * Ollama count too: another beside them must not push them out of memory. It comes without adapters. Throws NOTHING_FITS with
 * need and have.
 */
export function selectBeside(
  input: SelectInput,
  placed: readonly ModelSpec[],
  { model, context }: Pick<ModelReference, "model" | "context">,
): ModelSpec {
  const reference: ModelReference = { model, context, optional: true, when: {}, slots: null };
  const taken = takenBy(placed, input);
  const refused: Refusal[] = [];
  const objections = model.variants.map((variant) => input.objectTo?.(model, variant) ?? null);
  for (const [index, declared] of model.variants.entries()) {
    const objection = objections[index];
    if (objection?.refused) {
      refused.push(refusal(reference, declared, unwanted(objection.error)));
      continue;
    }
    const variant = { ...declared, adapters: [] };
    // An Ollama server has one number of sequences for all its models, and a cache for each.
    const sequences = variant.engine === "ollama" ? ollamaSequences(placed) : 1;
    const question = { model, variant, context, facts: input.factsOf(declared) };
    const alone = placeInto(input, question, taken);
    const caches = alone.ok ? (sequences - 1) * (alone.need?.kv ?? 0) : 0;
    const placement = caches > 0 ? placeInto(input, question, plus(taken, caches, input.hardware.gpus.length)) : alone;
    const [spec] = placement.ok ? toSpecs(reference, variant, placement) : [];
    if (spec) {
      const { need: _, ...rest } = spec;
      return {
        ...rest,
        // Where the policy only warns.
        reason: objection ? `${rest.reason}; ${objection.error.message}` : rest.reason,
        variant: declared,
        share: { gpuMemory: null, sequences: sequences > 1 ? sequences : null },
        runTime: true,
      };
    }
    if (!placement.ok) refused.push(refusal(reference, variant, placement));
  }
  if (objections[0] && objections.every((each) => each?.refused)) throw objections[0].error;
  throw misfit(model.id, refused, placed);
}

/** Bytes that are taken: by GPU (index into Hardware.gpus), and of main memory. */
interface Taken {
  reserved: ReadonlyMap<number, number>;
  memoryBytes: number;
}

interface Question {
  model: Pick<CatalogModel, "contextLength">;
  variant: Variant;
  facts: VariantFacts | null;
  context: number | null;
}

function placeInto(input: SelectInput, { model, variant, facts, context }: Question, { reserved, memoryBytes }: Taken) {
  const { memory } = input.hardware;
  const left = Math.max(0, memory.totalBytes - memoryBytes / CPU_SHARE);
  return place({
    ...{ variant, facts, context, reserved, adapterBytes: 0 },
    maxContext: model.contextLength,
    hardware: { ...input.hardware, memory: { ...memory, totalBytes: left } },
    gpus: usableGpus(input, input.workerType),
  });
}

/** What the placed models need, each with its adapters and all of its sequences. */
function takenBy(placed: readonly ModelSpec[], input: SelectInput): Taken {
  const reserved = new Map<number, number>();
  let memoryBytes = 0;
  for (const { variant, context, gpus, share, adapterOf, runTime } of placed) {
    // vLLM keeps adapters within their model's part, Ollama loads the model once more.
    if (adapterOf !== null && variant.engine !== "ollama") continue;
    const base = placed.find(({ id }) => id === adapterOf)?.variant ?? variant;
    const alone = place({
      variant: base,
      facts: input.factsOf(base),
      adapterBytes: runTime ? 0 : adapterBytes(base, input.factsOf),
      ...{ context, maxContext: context, gpus },
      hardware: input.hardware,
      reserved: new Map(),
    });
    const caches = alone.ok && variant.engine === "ollama" ? ((share.sequences ?? 1) - 1) * (alone.need?.kv ?? 0) : 0;
    const need = (alone.ok ? (alone.need?.total ?? 0) : (alone.needBytes ?? 0)) + caches;
    if (gpus.length === 0) memoryBytes += need;
    for (const index of gpus) reserved.set(index, (reserved.get(index) ?? 0) + need);
  }
  return { reserved, memoryBytes };
}

function plus({ reserved, memoryBytes }: Taken, bytes: number, gpus: number): Taken {
  return {
    reserved: new Map(Array.from({ length: gpus }, (_, index) => [index, (reserved.get(index) ?? 0) + bytes])),
    memoryBytes: memoryBytes + bytes,
  };
}

function ollamaSequences(placed: readonly ModelSpec[]): number {
  const numbers = placed.flatMap(({ variant, share }) => (variant.engine === "ollama" ? (share.sequences ?? []) : []));
  return Math.max(1, ...numbers);
}

function misfit(id: string, refused: Refusal[], placed: readonly ModelSpec[]): MusterError {
  const reasons = refused.map(({ variant, reason }) => (refused.length > 1 ? `${variant} ${reason}` : reason));
  const beside = placed.length > 0 ? ` beside ${placed.map((spec) => spec.id).join(", ")}` : "";
  const closest = refused.toSorted((a, b) => shortage(a) - shortage(b))[0];
  return new MusterError("NOTHING_FITS", `${id} does not fit this worker${beside}: ${reasons.join("; ")}.`, {
    hint: "Ask another worker for it, or remove a model from this one first; `muster plan` shows what it has.",
    details: { needBytes: closest?.needBytes ?? null, haveBytes: closest?.haveBytes ?? null },
  });
}

function shortage({ needBytes, haveBytes }: Refusal): number {
  return needBytes === null ? Number.POSITIVE_INFINITY : needBytes - (haveBytes ?? 0);
}
