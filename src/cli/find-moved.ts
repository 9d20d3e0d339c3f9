import { type MusterError, toMusterError } from "../errors.ts";
import { askLatest, type Latest } from "../fetch/ask-latest.ts";
import { mapSome } from "../fetch/map-some.ts";
import { recordVariant } from "../fetch/record-source.ts";
import type { SyncContext } from "../fetch/sync-context.ts";
import type { Variant } from "../model.ts";
import { type InventoryEntry, isFixed } from "../store/inventory.ts";
import { findAllStored, isNamed } from "./find-stored.ts";
import type { Volume } from "./open-volume.ts";
import { catalogAtServer } from "./server-models.ts";

/** Sources that are asked at once. */
const AT_ONCE = 8;

/** What a model's source says of it. */
export interface Asked {
  entry: InventoryEntry;
  /** `fixed`: it was asked for by a commit or a digest, which does not move. */
  state: "current" | "outdated" | "fixed" | "failed";
  variant: Variant | null;
  latest: Latest | null;
  error: MusterError | null;
}

/**
 * The models that names mean, where there are none all of the volume and of a server that keeps some in its place. Revisions
 * that are kept beside them are none of them. Throws MODEL_UNKNOWN, ENGINE_DOWN.
 */
export async function namedModels(names: readonly string[], volume: Volume): Promise<InventoryEntry[]> {
  const { config, catalog, entries, uses, signal } = volume;
  const here = entries.filter(({ model }) => !model.kept);
  const files = here.filter(({ model }) => model.source !== "ollama");
  // What no server can have needs none that answers.
  const areFiles = names.length > 0 && names.every((name) => files.some(({ model }) => isNamed(name, model, uses)));
  const atServer = areFiles ? [] : await catalogAtServer(config, catalog, signal);
  const there = new Set(atServer.map(({ model }) => model.key));
  const models = [...here.filter(({ model }) => !there.has(model.key)), ...atServer];
  return names.length === 0 ? models : findAllStored(names, models, uses);
}

/** Asks the source of each; one that has no answer is told, and keeps nobody from the others. */
export function askAll(
  entries: readonly InventoryEntry[],
  { uses }: Pick<Volume, "uses">,
  context: SyncContext,
): Promise<Asked[]> {
  return mapSome(entries, AT_ONCE, async (entry): Promise<Asked> => {
    const { model } = entry;
    const nothing = { entry, variant: null, latest: null, error: null };
    if (isFixed(model)) return { ...nothing, state: "fixed" };
    try {
      const variant = recordVariant(model, uses.get(model.key)?.variant ?? null);
      const latest = await askLatest(model, variant, context);
      const isCurrent = latest.plan.revision === model.revision;
      return { entry, state: isCurrent ? "current" : "outdated", variant, latest, error: null };
    } catch (error) {
      context.signal?.throwIfAborted();
      return { ...nothing, state: "failed", error: toMusterError(error) };
    }
  });
}
