import type { StoredModel, Variant } from "../model.ts";
import type { Layout } from "../store/layout.ts";
import { findComplete } from "../store/manifest.ts";

/** Those of the variants that are complete on the volume, by their records and a stat a file. */
export async function storedVariants(variants: readonly Variant[], layout: Layout): Promise<Map<Variant, StoredModel>> {
  const found = await Promise.all(
    variants.map(async (variant) => [variant, await findComplete(layout, variant)] as const),
  );
  return new Map(found.flatMap(([variant, stored]) => (stored ? [[variant, stored]] : [])));
}
