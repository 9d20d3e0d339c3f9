import { readFile, readlink, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { StoredModel } from "../model.ts";
import { filesBelow } from "./files-below.ts";
import type { HubLayout } from "./layout.ts";
import { removeEmpty, removeUpTo, removeWhole } from "./remove-folders.ts";

/**
 * Takes a snapshot out of the hub cache: refs, then the snapshot, whole and at once, because clients take any snapshot for
 * complete, then the blobs that neither a record nor another snapshot names, whoever made that. Where another record has
 * the same commit, only the files go that it does not name.
 */
export async function unpublishSnapshot(
  hub: HubLayout,
  removed: StoredModel,
  kept: readonly StoredModel[],
  signal: AbortSignal,
): Promise<void> {
  const { location: repo, revision: commit } = removed;
  const snapshot = hub.snapshot(repo, commit);
  const own = kept.filter(({ source, location }) => source === "huggingface" && location === repo);
  const sharers = own.filter(({ revision }) => revision === commit);
  const needed = new Set(own.flatMap(({ files }) => files.map(({ digest }) => hub.blob(repo, digest))));
  const doomed = new Set(removed.files.map(({ digest }) => hub.blob(repo, digest)));
  await removeRefs(hub, removed, { own, all: sharers.length === 0 });
  signal.throwIfAborted();
  if (sharers.length === 0) {
    for (const blob of await linkedFrom(snapshot)) doomed.add(blob);
    await removeWhole(snapshot, hub.stagedSnapshot(repo, crypto.randomUUID()));
    await rm(hub.absent(repo, commit), { recursive: true, force: true });
  } else {
    const shown = new Set(sharers.flatMap(({ files }) => files.map(({ path }) => path)));
    for (const { path } of removed.files) if (!shown.has(path)) await removeUpTo(snapshot, join(snapshot, path));
  }
  for (const blob of await linkedFrom(dirname(snapshot))) needed.add(blob);
  for (const blob of doomed) {
    signal.throwIfAborted();
    // Only what is a blob of this repository: a link may lead anywhere.
    if (!needed.has(blob) && dirname(blob) === hub.blobs(repo)) await rm(blob, { force: true });
  }
  await removeEmpty(hub.repo(repo));
}

/** A ref that names no snapshot makes Python call the repository corrupted. */
async function removeRefs(
  hub: HubLayout,
  { location: repo, requestedRevision, revision: commit }: StoredModel,
  { own, all }: { own: readonly StoredModel[]; all: boolean },
): Promise<void> {
  const refs = hub.refs(repo);
  const isNeeded = own.some((other) => other.requestedRevision === requestedRevision);
  for (const path of await filesBelow(refs)) {
    if (!all && (isNeeded || path !== hub.ref(repo, requestedRevision))) continue;
    const named = await readFile(path, "utf8").catch(() => "");
    if (named.trim() === commit) await removeUpTo(refs, path);
  }
}

/** Where the links below a folder lead to. */
export async function linkedFrom(folder: string): Promise<string[]> {
  const targets = await Promise.all(
    (await filesBelow(folder)).map(async (path) => {
      const target = await readlink(path).catch(() => null);
      return target === null ? null : join(dirname(path), target);
    }),
  );
  return targets.filter((target) => target !== null);
}
