import type { StoredModel } from "../model.ts";
import { type Hold, type Holder, liveHolds } from "./holds.ts";
import { readLastUses } from "./last-use.ts";
import type { Layout } from "./layout.ts";
import { isComplete, listManifests } from "./manifest.ts";
import { pinnedDigest } from "./ollama-name.ts";

/** A model of the volume with all that is known about its use. */
export interface InventoryEntry {
  model: StoredModel;
  complete: boolean;
  /** Milliseconds as Date.now; a model that nobody has used since it was fetched is as old as its record. */
  lastUsedAt: number;
  /** Running workers that have chosen it. */
  heldBy: Holder[];
  /** The revision that was asked for is one that does not move: a commit, a manifest's digest. */
  pinned: boolean;
}

/** Every model that has a record. */
export async function takeInventory(layout: Layout): Promise<InventoryEntry[]> {
  const [models, uses, holds] = await Promise.all([listManifests(layout), readLastUses(layout), liveHolds(layout)]);
  return Promise.all(
    models.map(async (model) => ({
      model,
      complete: await isComplete(layout, model),
      lastUsedAt: lastUse(model, uses),
      heldBy: holdersOf(model.key, holds),
      pinned: isPinned(model),
    })),
  );
}

export function holdersOf(key: string, holds: readonly Hold[]): Holder[] {
  return holds.filter(({ models }) => models.some((each) => each.key === key)).map(({ holder }) => holder);
}

export function isPinned({ requestedRevision, revision }: StoredModel): boolean {
  return requestedRevision === revision || pinnedDigest(requestedRevision) === revision;
}

function lastUse({ key, storedAt }: StoredModel, uses: ReadonlyMap<string, number>): number {
  return Math.max(uses.get(key) ?? 0, Date.parse(storedAt) || 0);
}
