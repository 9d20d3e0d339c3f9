import type { StoredModel } from "../model.ts";
import { type Holder, type LiveHold, liveHolds } from "./holds.ts";
import { readLastUses } from "./last-use.ts";
import type { Layout } from "./layout.ts";
import { isComplete, listManifests } from "./manifest.ts";
import { pinnedDigest } from "./ollama-name.ts";
import { type Pin, readPins } from "./pins.ts";

/** A model of the volume with all that is known about its use. */
export interface InventoryEntry {
  model: StoredModel;
  complete: boolean;
  /** Milliseconds as Date.now; a model that nobody has used since it was fetched is as old as its record. */
  lastUsedAt: number;
  /** Running workers that have chosen it. */
  heldBy: Holder[];
  /** Nobody is to remove it. */
  pin: Pin | null;
}

/** Every model that has a record. */
export async function takeInventory(layout: Layout): Promise<InventoryEntry[]> {
  const [models, uses, holds, pins] = await Promise.all([
    listManifests(layout),
    readLastUses(layout),
    liveHolds(layout),
    readPins(layout),
  ]);
  return Promise.all(
    models.map(async (model) => ({
      model,
      complete: await isComplete(layout, model),
      lastUsedAt: lastUse(model, uses),
      heldBy: holdersOf(model, holds),
      pin: pins.get(model.key) ?? null,
    })),
  );
}

/** Running workers that need it; an earlier revision only those that were there when it was the model's. */
export function holdersOf({ key, kept }: Pick<StoredModel, "key" | "kept">, holds: readonly LiveHold[]): Holder[] {
  return holds
    .filter(({ models }) => models.some((each) => each.key === (kept?.of ?? key)))
    .filter(({ token }) => !kept?.usedBy || kept.usedBy.includes(token))
    .map(({ holder }) => holder);
}

/** The revision that was asked for is one that does not move: a commit, a manifest's digest. */
export function isFixed({ requestedRevision, revision }: Pick<StoredModel, "requestedRevision" | "revision">): boolean {
  return requestedRevision === revision || pinnedDigest(requestedRevision) === revision;
}

function lastUse({ key, storedAt, kept }: StoredModel, uses: ReadonlyMap<string, number>): number {
  const times = [storedAt, ...(kept ? [kept.since] : [])].map((time) => Date.parse(time) || 0);
  return Math.max(uses.get(key) ?? 0, ...times);
}
