import { bytes } from "../fetch/progress-log.ts";
import type { InventoryEntry } from "../store/inventory.ts";
import { table } from "./output.ts";

/** How models and the volume are told to people. */

const BAR_WIDTH = 40;

export interface VolumeAmounts {
  path: string;
  sizeBytes: number;
  freeBytes: number;
  /** Taken by models, theirs and other tools'. */
  modelBytes: number;
  maxCacheBytes: number | null;
}

/** What of the volume models take (█), others take (▒), and nobody (░). */
export function volumeBar({ path, sizeBytes, freeBytes, modelBytes, maxCacheBytes }: VolumeAmounts): string {
  const cells = (count: number) => (sizeBytes > 0 ? Math.round((count / sizeBytes) * BAR_WIDTH) : 0);
  const used = cells(sizeBytes - freeBytes);
  const models = Math.min(used, cells(modelBytes));
  const bar = `${"█".repeat(models)}${"▒".repeat(used - models)}${"░".repeat(BAR_WIDTH - used)}`;
  const quota = maxCacheBytes === null ? "" : `, of MAX_CACHE_GB ${bytes(maxCacheBytes)}`;
  return `${bar} ${path}: ${bytes(modelBytes)} of models${quota}, ${bytes(freeBytes)} of ${bytes(sizeBytes)} free`;
}

/** An RFC 3339 time to the minute. */
export function when(time: string): string {
  return time.slice(0, 16).replace("T", " ");
}

/** `main (0123456789ab)`, or only what it is pinned to; without the commit's tail. */
export function shortRevision({
  requestedRevision,
  revision,
}: {
  requestedRevision: string;
  revision: string;
}): string {
  const short = revision.slice(0, 12);
  return ["", revision].includes(requestedRevision) ? short : `${requestedRevision} (${short})`;
}

/** What a command is about to do something with. */
export function modelTable(entries: readonly InventoryEntry[], notes: readonly string[] = []): string {
  const rows = entries.map(({ model, lastUsedAt }, index) => [
    `${model.source}:${model.location}`,
    shortRevision(model),
    bytes(model.bytes),
    when(new Date(lastUsedAt).toISOString()),
    notes[index] ?? "",
  ]);
  return table([["MODEL", "REVISION", "SIZE", "USED", ""], ...rows]);
}
