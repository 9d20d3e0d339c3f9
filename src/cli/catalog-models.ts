import type { Config } from "../config.ts";
import { toMusterError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Variant } from "../model.ts";
import { openCatalog, variantsOf } from "../plan.ts";
import type { Catalog } from "../select/worker-types.ts";
import { manifestKey } from "../store/manifest.ts";

/** What a catalog says of the record that one of its variants has on the volume. */
export interface CatalogUse {
  /** Ids in the catalog. */
  models: string[];
  workerTypes: string[];
  variant: Variant;
}

/** By record key: who in the catalog means it. */
export function catalogUses({ models, workerTypes }: Catalog): Map<string, CatalogUse> {
  const uses = new Map<string, CatalogUse>();
  for (const { id, variants } of models.values()) {
    for (const variant of withAdapters(variants)) {
      const key = manifestKey(variant);
      const use = uses.get(key) ?? { models: [], workerTypes: [], variant };
      use.models.push(id);
      uses.set(key, use);
    }
  }
  for (const type of workerTypes.values()) {
    const keys = withAdapters(type.models.flatMap(({ model }) => model.variants)).map(manifestKey);
    for (const key of new Set(keys)) uses.get(key)?.workerTypes.push(type.id);
  }
  return uses;
}

/** Records that a worker of this type could choose, by itself or where it falls back to another. */
export function keysOfType(id: string, catalog: Catalog): string[] {
  const type = catalog.workerTypes.get(id);
  return type ? withAdapters(variantsOf(type, catalog)).map(manifestKey) : [];
}

/** Adapters are fetched as models of their own. */
function withAdapters(variants: readonly Variant[]): Variant[] {
  return variants.flatMap((variant) => [variant, ...variant.adapters.map((adapter) => adapter.variant)]);
}

/** What is on the volume can be looked at without a catalog too. */
export async function catalogIfReadable(config: Config, log: Logger): Promise<Catalog> {
  return openCatalog(config).catch((error: unknown) => {
    log.warn(toMusterError(error).message);
    return { models: new Map(), workerTypes: new Map() };
  });
}
