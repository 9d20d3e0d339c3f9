import { type ContentPolicy, licenseObjection } from "../content-policy.ts";
import type { MusterError } from "../errors.ts";
import type { Variant, VariantFacts } from "../model.ts";

/** Why the operator's policy is against a variant. */
export interface Objection {
  error: MusterError;
  /** Or else it is taken, and told. */
  refused: boolean;
}

export type ObjectTo = (model: { license: string | null }, variant: Variant) => Objection | null;

interface Known {
  policy: ContentPolicy;
  factsOf: (variant: Variant) => VariantFacts | null;
  /** What is refused for its files: pickles. */
  refused: ReadonlyMap<Variant, MusterError>;
}

/** By what the catalog and the source say of a variant. */
export function contentObjections({ policy, factsOf, refused }: Known): ObjectTo {
  return ({ license: declared }, variant) => {
    const pickles = refused.get(variant);
    if (pickles) return { error: pickles, refused: true };
    const found = factsOf(variant)?.license ?? null;
    const error = licenseObjection(variant.location, { declared, found }, policy.licenses);
    return error && { error, refused: policy.licenses?.refuse ?? false };
  };
}

/** The same with the variant's adapters, which have licences of their own. */
export function objectionWithAdapters(
  objectTo: ObjectTo | undefined,
  model: { license: string | null },
  variant: Variant,
): Objection | null {
  const parts = [{ license: model.license, variant }, ...variant.adapters];
  const all = parts.map((part) => objectTo?.(part, part.variant) ?? null).filter((each) => each !== null);
  return all.find((each) => each.refused) ?? all[0] ?? null;
}
