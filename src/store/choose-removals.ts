import { bytesOf, inodesOf } from "./disk-usage.ts";
import type { InventoryEntry } from "./inventory.ts";

export interface PruneRules {
  /** What was not used since then goes; milliseconds as Date.now. Null: age alone is no reason. */
  unusedSince: number | null;
  /** What was used longest ago goes until models take no more than this. Null: size is no reason. */
  maxBytes: number | null;
  /** Keys of earlier revisions that are more than are to be kept. */
  superseded: ReadonlySet<string>;
  /** Keys of records that stay, and why, in words. */
  kept: ReadonlyMap<string, string>;
}

export interface ChosenRemoval {
  entry: InventoryEntry;
  /** What the disk gets back, those before it being gone. */
  bytes: number;
  reason: "superseded" | "unused" | "size";
}

export interface PruneChoice {
  removals: ChosenRemoval[];
  /** Models that a rule would remove, and that stay all the same. */
  spared: { entry: InventoryEntry; because: string }[];
  /** What models take afterwards. */
  bytesAfter: number;
}

/** Chooses what goes, least recently used first. `usedBytes`: what is taken now, by models or not. */
export async function chooseRemovals(
  entries: readonly InventoryEntry[],
  usedBytes: number,
  { unusedSince, maxBytes, superseded, kept }: PruneRules,
): Promise<PruneChoice> {
  const oldestFirst = entries.toSorted((a, b) => a.lastUsedAt - b.lastUsedAt || b.model.bytes - a.model.bytes);
  const inodes = new Map(
    await Promise.all(oldestFirst.map(async (entry) => [entry, await inodesOf(entry.model)] as const)),
  );
  const users = new Map<string, number>();
  for (const each of inodes.values()) for (const id of each.keys()) users.set(id, (users.get(id) ?? 0) + 1);
  const choice: PruneChoice = { removals: [], spared: [], bytesAfter: usedBytes };
  for (const entry of oldestFirst) {
    const isOld = unusedSince !== null && entry.lastUsedAt < unusedSince;
    const isTooMuch = maxBytes !== null && choice.bytesAfter > maxBytes;
    const isSuperseded = superseded.has(entry.model.key);
    if (!isOld && !isTooMuch && !isSuperseded) continue;
    const because = kept.get(entry.model.key);
    if (because !== undefined) {
      choice.spared.push({ entry, because });
      continue;
    }
    const own = inodes.get(entry) ?? new Map<string, number>();
    const freed = new Map([...own].filter(([id]) => users.get(id) === 1));
    for (const id of own.keys()) users.set(id, (users.get(id) ?? 0) - 1);
    const bytes = bytesOf(freed);
    choice.bytesAfter -= bytes;
    choice.removals.push({ entry, bytes, reason: isSuperseded ? "superseded" : isOld ? "unused" : "size" });
  }
  return choice;
}
