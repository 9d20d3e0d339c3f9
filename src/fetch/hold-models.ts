import type { ModelSpec, Variant } from "../model.ts";
import { OwnHold } from "../store/holds.ts";
import type { Layout } from "../store/layout.ts";
import { manifestKey } from "../store/manifest.ts";
import { storeOf } from "../store/model-store.ts";

export interface HolderOptions {
  layout: Layout;
  /** The worker's id, or the command. */
  name: string;
  workerType: string | null;
  /** What it could choose as well. */
  catalog?: readonly Variant[];
}

/** Keeps models from being removed, by whichever host, for as long as this process lives and does not dispose of it. */
export function holdModels(
  specs: readonly ModelSpec[],
  { layout, name, workerType, catalog = [] }: HolderOptions,
): Promise<OwnHold> {
  const models = specs.map(({ variant }) => ({
    key: manifestKey(variant),
    lease: storeOf(layout, variant.source).leaseName(variant.location),
  }));
  return OwnHold.take(layout, { name, workerType, models, catalog: [...new Set(catalog.map(manifestKey))] });
}
