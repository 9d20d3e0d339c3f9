import type { MusterError } from "../errors.ts";
import type { ModelSpec, Variant } from "../model.ts";
import type { Misfit } from "./placement.ts";
import type { ModelReference } from "./worker-types.ts";

/** A variant (or a whole model) that was not taken. */
export interface Refusal {
  model: string;
  variant: string | null;
  required: boolean;
  reason: string;
  needBytes: number | null;
  haveBytes: number | null;
  largestContext: number | null;
}

export function refusal(
  reference: ModelReference,
  variant: Variant,
  { reason, needBytes, haveBytes, largestContext }: Misfit,
): Refusal {
  const base = { model: reference.model.id, variant: variant.id, required: !reference.optional };
  return { ...base, reason, needBytes, haveBytes, largestContext };
}

/** A variant that the operator's policy is against. */
export function unwanted({ message }: MusterError): Misfit {
  return { ok: false, reason: message.replace(/\.$/, ""), needBytes: null, haveBytes: null, largestContext: null };
}

/** Why each variant that was not taken was not; one that only had to make room for others was never refused by itself. */
export function leftOut(kept: ModelReference[], models: ModelSpec[], refused: Refusal[]): Refusal[] {
  const isTaken = ({ model, variant }: Pick<Refusal, "model" | "variant">) =>
    models.some((spec) => spec.id === model && spec.variant.id === variant);
  const gaveWay = kept.flatMap((reference) => {
    const { id, variants } = reference.model;
    const better = variants.slice(
      0,
      variants.findIndex((variant) => isTaken({ model: id, variant: variant.id })),
    );
    return better
      .filter((variant) => !refused.some((each) => each.model === id && each.variant === variant.id))
      .map((variant) => refusal(reference, variant, GAVE_WAY));
  });
  // Backtracking may have refused a variant beside a larger one and taken it beside a smaller one.
  return [...refused.filter((each) => !isTaken(each)), ...gaveWay];
}

const GAVE_WAY: Misfit = {
  ok: false,
  reason: "would leave no room for the other models",
  needBytes: null,
  haveBytes: null,
  largestContext: null,
};

/** Backtracking meets a variant's misfit many times; the one that came closest is kept. */
export function dedupe(refused: Refusal[]): Refusal[] {
  const closest = new Map<string, Refusal>();
  for (const each of refused) {
    const key = JSON.stringify([each.model, each.variant]);
    const before = closest.get(key);
    if (!before || (each.haveBytes ?? 0) > (before.haveBytes ?? 0)) closest.set(key, each);
  }
  return [...closest.values()];
}
