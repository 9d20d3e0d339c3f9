import { readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { hasSystemCode } from "../errors.ts";
import type { StoredModel } from "../model.ts";
import { keepBallast, withBallast } from "./ballast.ts";
import { type Holder, liveHolds } from "./holds.ts";
import { holdersOf } from "./inventory.ts";
import { forgetUse } from "./last-use.ts";
import type { Layout } from "./layout.ts";
import { type Lease, tryLease } from "./lease.ts";
import { makeFolder } from "./make-folder.ts";
import { isComplete, listManifests, readManifest, readRecord } from "./manifest.ts";
import { storeOf } from "./model-store.ts";
import { syncFolder } from "./partial-file.ts";
import { readPin } from "./pins.ts";

export type RemovalOutcome =
  | { outcome: "removed" }
  /** Its record is gone already. */
  | { outcome: "absent" }
  /** Somebody is writing it. */
  | { outcome: "busy" }
  /** A worker that runs needs it. */
  | { outcome: "held"; holders: Holder[] }
  /** Somebody wants it to stay. */
  | { outcome: "pinned" };

/**
 * Removes a model. Its record goes first, out of sight but not away: nobody calls the model complete any more, and what
 * a kill leaves is known. Only then holds and pins are looked at. A worker holds before it looks for the record, so of two that
 * cross each other at least one sees the other; the record is put back where a hold has come.
 * `onRemoval` is awaited when nothing keeps the model any more, and nothing of it is gone yet.
 */
export async function removeModel(
  layout: Layout,
  key: string,
  signal: AbortSignal,
  onRemoval?: (record: StoredModel) => Promise<void>,
): Promise<RemovalOutcome> {
  const before = await readManifest(layout, key);
  if (!before) return { outcome: "absent" };
  return withLease(layout, before, signal, async (lease) => {
    // While the lease was being had, the model may have been written anew.
    const record = await readManifest(layout, key);
    if (!record) return { outcome: "absent" };
    const [shown, hidden] = [layout.manifest(key), layout.removal(key)];
    await withBallast(layout, async () => {
      await makeFolder(layout.removals);
      await move(shown, hidden);
    });
    const holders = holdersOf(record, await liveHolds(layout));
    const isPinned = (await readPin(layout, key)) !== null;
    if (holders.length > 0 || isPinned) {
      await move(hidden, shown);
      return isPinned ? { outcome: "pinned" } : { outcome: "held", holders };
    }
    await onRemoval?.(record);
    return finish(layout, record, AbortSignal.any([signal, lease.lost]));
  });
}

/** Removals that a kill has left. */
export async function unfinishedRemovals(layout: Layout): Promise<string[]> {
  const names = await readdir(layout.removals).catch(() => []);
  return names.filter((name) => name.endsWith(".json")).map((name) => join(layout.removals, name));
}

/** Finishes such a removal, or takes it back where a worker has come to need the model and nothing of it is gone yet. */
export async function finishRemoval(layout: Layout, path: string, signal: AbortSignal): Promise<RemovalOutcome> {
  const record = await readRecord(layout, path);
  if (!record) return { outcome: "absent" };
  return withLease(layout, record, signal, async (lease) => {
    if (!(await readRecord(layout, path))) return { outcome: "absent" };
    const holders = holdersOf(record, await liveHolds(layout));
    if (holders.length === 0) return finish(layout, record, AbortSignal.any([signal, lease.lost]));
    if (!(await readManifest(layout, record.key)) && (await isComplete(layout, record)))
      await move(path, layout.manifest(record.key));
    return { outcome: "held", holders };
  });
}

async function withLease(
  layout: Layout,
  { source, location }: StoredModel,
  signal: AbortSignal,
  work: (lease: Lease) => Promise<RemovalOutcome>,
): Promise<RemovalOutcome> {
  const name = storeOf(layout, source).leaseName(location);
  const lease = await withBallast(layout, () => tryLease(layout.lease(name), { what: name, signal }));
  if (!lease) return { outcome: "busy" };
  try {
    return await work(lease);
  } finally {
    await lease.release();
  }
}

async function finish(layout: Layout, record: StoredModel, signal: AbortSignal): Promise<RemovalOutcome> {
  const kept = await listManifests(layout);
  await withBallast(layout, () => storeOf(layout, record.source).unpublish(record, kept, signal));
  if (!kept.some(({ key }) => key === record.key)) await forgetUse(layout, record.key);
  await rm(layout.removal(record.key), { force: true });
  await keepBallast(layout);
  return { outcome: "removed" };
}

async function move(from: string, to: string): Promise<void> {
  await rename(from, to).catch((error: unknown) => {
    // Another process that finishes removals has been quicker.
    if (!hasSystemCode(error, "ENOENT")) throw error;
  });
  await Promise.all([syncFolder(dirname(from)), syncFolder(dirname(to))]);
}
