import type { Variant, VariantFacts } from "../model.ts";
import { VLLM_SHARE } from "./fit.ts";
import { LEAST_CONTEXT, type Placement, place } from "./placement.ts";
import { machineWith } from "./planned-hardware.ts";

/** Memory of cards that are sold, gigabytes as they are sold by. A card has no less than that many times 10⁹ bytes. */
export const CARDS_GB = [4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 141, 192, 288];

/** The tokens that cards are reckoned with, where the model takes as many. */
export const CARD_CONTEXT = 8192;

export interface CardFit {
  /** Of the smallest card that holds the model with CARD_CONTEXT tokens, or as many as it takes; null where none does. */
  gpuMemoryGb: number | null;
  /** Such cards that it takes. */
  gpuCount: number;
  /** Bytes on each of them; null where nobody knows. */
  needBytes: number | null;
  /** Tokens; null for a model without a context. */
  context: number | null;
  /** Why no card holds it, or why nothing can be said; null where one does. */
  reason: string | null;
}

/**
 * What to declare as a variant's minGpuMemoryGb: gigabytes of each of its cards with which it still serves short contexts.
 * Null where nobody knows.
 */
export function leastGpuMemoryGb(
  variant: Variant,
  facts: VariantFacts | null,
  maxContext: number | null,
): number | null {
  const { gpuCount } = variant;
  const found = place({
    ...{ variant, facts, maxContext, gpus: Array.from({ length: gpuCount }, (_, index) => index) },
    adapterBytes: 0,
    context: LEAST_CONTEXT,
    hardware: machineWith(CARDS_GB.at(-1)!, gpuCount),
    reserved: new Map(),
  });
  const share = variant.engine === "vllm" ? VLLM_SHARE : 1;
  return found.ok && found.need ? Math.floor(found.need.total / share / 1e9) : null;
}

/** How large a card the variant needs by itself. `facts`: what its source says; null to go by the catalog alone. */
export function smallestCard(variant: Variant, facts: VariantFacts | null, maxContext: number | null): CardFit {
  const { gpuCount } = variant;
  const gpus = Array.from({ length: gpuCount }, (_, index) => index);
  const on = (gb: number) =>
    place({
      ...{ variant, facts, maxContext, gpus },
      adapterBytes: 0,
      context: CARD_CONTEXT,
      hardware: machineWith(gb, gpuCount),
      reserved: new Map(),
    });
  const largest = on(CARDS_GB.at(-1)!);
  if (!largest.ok) {
    const { needBytes, reason } = largest;
    return { gpuMemoryGb: null, gpuCount, needBytes, context: null, reason };
  }
  if (!largest.need) {
    const reason = "neither the catalog nor the source says how large it is";
    return { gpuMemoryGb: null, gpuCount, needBytes: null, context: largest.context, reason };
  }
  const { context } = largest;
  const isWhole = (placement: ReturnType<typeof place>): placement is Placement =>
    placement.ok && placement.context === context;
  const gpuMemoryGb = CARDS_GB.find((gb) => isWhole(on(gb))) ?? null;
  return { gpuMemoryGb, gpuCount, needBytes: Math.ceil(largest.need.total), context, reason: null };
}
