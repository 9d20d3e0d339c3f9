import type { Config } from "../config.ts";
import { serverOf } from "../fetch/open-fetch.ts";
import type { StoredModel } from "../model.ts";
import type { Catalog } from "../select/worker-types.ts";
import type { InventoryEntry } from "../store/inventory.ts";
import { manifestKey } from "../store/manifest.ts";

/** Models of this catalog that an Ollama server keeps by itself, under the keys that their records would have. Throws ENGINE_DOWN. */
export async function catalogAtServer(
  config: Config,
  { models }: Pick<Catalog, "models">,
  signal?: AbortSignal,
): Promise<InventoryEntry[]> {
  const server = await serverOf(config);
  if (!server) return [];
  const variants = [...models.values()].flatMap((model) => model.variants.filter(({ source }) => source === "ollama"));
  const entries = new Map<string, InventoryEntry>();
  for (const variant of variants) {
    const key = manifestKey(variant);
    const found = entries.has(key) ? null : await server.find(variant, signal);
    if (found) entries.set(key, serverEntry({ ...found, key }));
  }
  return [...entries.values()];
}

/** What a server has is whole, and used and pinned by nobody that this volume knows of. */
export function serverEntry(model: StoredModel): InventoryEntry {
  return { model, complete: true, lastUsedAt: Date.parse(model.storedAt), heldBy: [], pin: null };
}
