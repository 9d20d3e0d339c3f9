import { MusterError } from "../errors.ts";
import type { ModelSpec } from "../model.ts";
import { CPU_SHARE, place } from "./placement.ts";
import { type Refusal, refusal } from "./refusals.ts";
import { type SelectInput, toSpec, usableGpus } from "./select-models.ts";
import type { ModelReference } from "./worker-types.ts";

/**
 * One model more, in the first of its variants that fits into what the placed ones leave; none of these gives way. Those on
 * Ollama count too: another beside them must not push them out of memory. Throws NOTHING_FITS with need and have.
 */
export function selectBeside(
  input: SelectInput,
  placed: readonly ModelSpec[],
  { model, context }: Pick<ModelReference, "model" | "context">,
): ModelSpec {
  const reference: ModelReference = { model, context, optional: true, when: {}, slots: null };
  const { reserved, memoryBytes } = takenBy(placed, input);
  const { memory } = input.hardware;
  const left = Math.max(0, memory.totalBytes - memoryBytes / CPU_SHARE);
  const hardware = { ...input.hardware, memory: { ...memory, totalBytes: left } };
  const refused: Refusal[] = [];
  for (const variant of model.variants) {
    const placement = place({
      variant,
      facts: input.factsOf(variant),
      context,
      maxContext: model.contextLength,
      hardware,
      gpus: usableGpus(input, input.workerType),
      reserved,
    });
    if (placement.ok) return { ...toSpec(reference, variant, placement), runTime: true };
    refused.push(refusal(reference, variant, placement));
  }
  throw misfit(model.id, refused, placed);
}

/** What the placed models need: bytes by GPU (index into Hardware.gpus), and of main memory. */
function takenBy(placed: readonly ModelSpec[], input: SelectInput) {
  const reserved = new Map<number, number>();
  let memoryBytes = 0;
  for (const { variant, context, gpus } of placed) {
    const alone = place({
      variant,
      facts: input.factsOf(variant),
      ...{ context, maxContext: context, gpus },
      hardware: input.hardware,
      reserved: new Map(),
    });
    const need = alone.needBytes ?? 0;
    if (gpus.length === 0) memoryBytes += need;
    for (const index of gpus) reserved.set(index, (reserved.get(index) ?? 0) + need);
  }
  return { reserved, memoryBytes };
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
