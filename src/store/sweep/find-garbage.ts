import { liveHolds } from "../holds.ts";
import type { Layout } from "../layout.ts";
import { listManifests } from "../manifest.ts";
import { finishRemoval, unfinishedRemovals } from "../remove-model.ts";
import { volumeNow } from "../volume-clock.ts";
import type { Garbage, GarbageAges, Look } from "./garbage.ts";
import { LeaseNames } from "./lease-names.ts";
import { hubOrphans, ollamaOrphans } from "./orphan-blobs.ts";
import { deadHolds, oldLeases, oldMarks } from "./stale-leases.ts";
import { folderLeftovers, hubLeftovers, ollamaLeftovers, ownTemporaries } from "./unfinished-files.ts";

const HOUR_MS = 3_600_000;
const USUAL_AGES: GarbageAges = { temporary: HOUR_MS, abandoned: 24 * HOUR_MS };

/** Leases last: until then they tell who was at work on what. */
const FINDERS = [
  removals,
  ownTemporaries,
  hubLeftovers,
  ollamaLeftovers,
  folderLeftovers,
  hubOrphans,
  ollamaOrphans,
  deadHolds,
  oldMarks,
  oldLeases,
];

/** In the order in which it is to be removed. */
export async function findGarbage(layout: Layout, ages = USUAL_AGES): Promise<Garbage[]> {
  const [now, records, holds] = await Promise.all([volumeNow(layout), listManifests(layout), liveHolds(layout)]);
  const models = holds.flatMap((hold) => hold.models);
  const look: Look = {
    layout,
    now,
    ages,
    records,
    leases: await LeaseNames.read(layout, holds),
    held: new Set(models.map(({ lease }) => lease)),
    heldKeys: new Set(models.filter(({ lease }) => lease.startsWith("ollama:")).map(({ key }) => key)),
  };
  const found: Garbage[] = [];
  for (const find of FINDERS) found.push(...(await find(look)));
  return found;
}

/** Removals that a kill has left on their way. */
async function removals({ layout }: Look): Promise<Garbage[]> {
  return (await unfinishedRemovals(layout)).map((path) => ({
    kind: "removal",
    path,
    bytes: 0,
    remove: async (signal) => (await finishRemoval(layout, path, signal)).outcome === "removed",
  }));
}
