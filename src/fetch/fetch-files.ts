import type { FileSpec } from "../model.ts";
import type { ContentLeases } from "../store/content-leases.ts";
import { hasSize } from "../store/has-size.ts";
import { commitPartial, dropPartial, partialBytes } from "../store/partial-file.ts";
import { ToolLocks } from "../store/tool-locks.ts";
import { type FileOwner, fetchFile } from "./fetch-file.ts";
import { findContent, shareContent } from "./known-content.ts";
import type { ModelProgress } from "./model-progress.ts";
import { sideBySide } from "./side-by-side.ts";
import type { SyncContext } from "./sync-context.ts";
import { isJournaled } from "./transfer/job.ts";

export interface FilesToFetch extends FileOwner {
  files: readonly FileSpec[];
  contents: ContentLeases;
  /** Of the files, those that another model's holder of their content is fetching. */
  arriving: ReadonlySet<FileSpec>;
}

/** Files under way: enough for the connections of all lanes over small ones. */
const AT_ONCE = 64;
/** Files that are waited for at once. */
const WAITING = 8;
/** Another tool may be at a file for so long: one that hangs keeps its lock. */
const TOOL_WAIT_MS = 600_000;

/**
 * Brings the files and gives them their names, side by side; small ones are not synced. The first failure ends all.
 * Throws MusterError.
 */
export async function fetchFiles(work: FilesToFetch, context: SyncContext, progress: ModelProgress): Promise<void> {
  const { files, arriving, store, model } = work;
  if (files.length === 0) return;
  await store.prepare(model);
  const ordered = files.toSorted((a, b) => b.size - a.size);
  const own = ordered.filter((file) => !arriving.has(file));
  await using locks = await ToolLocks.take(own.map((file) => lockOf(file, work)).filter((path) => path !== null));
  const isElsewhere = (file: FileSpec) => arriving.has(file) || locks.isBusy(lockOf(file, work));
  const bring = { ...work, locks };
  await fetchAll(
    ordered.filter((file) => !isElsewhere(file)),
    bring,
    context,
    progress,
  );
  // Only now, with nothing left that others may be waiting for: so nobody waits in a circle.
  const others = ordered.filter(isElsewhere);
  await sideBySide(others, { atOnce: WAITING, signal: context.signal }, async (file, signal) => {
    const wait = arriving.has(file) ? awaitModel : awaitTool;
    await wait(file, bring, { ...context, signal }, progress);
  });
}

/** Bytes of the files that are not in partials yet. */
export function bytesToFetch(files: readonly FileSpec[], folder: string): number {
  return files.reduce((sum, { digest, size }) => sum + size - partialBytes(folder, digest, size), 0);
}

/** Room on the disk for what is missing of the files; what is told as written needs none any more. Throws as the budget does. */
export async function makeRoom(
  files: readonly FileSpec[],
  { store, variant: { location } }: FileOwner,
  { disk }: Pick<SyncContext, "disk">,
  { onBytes }: Pick<ModelProgress, "onBytes">,
): Promise<Pick<ModelProgress, "onBytes"> & Disposable> {
  const reservation = await disk.reserve(store.root, bytesToFetch(files, store.ingest(location)), location);
  return {
    onBytes(count) {
      reservation.written(count);
      onBytes(count);
    },
    [Symbol.dispose]: () => reservation.release(),
  };
}

interface FilesToBring extends FilesToFetch {
  locks: ToolLocks;
}

async function fetchAll(
  files: readonly FileSpec[],
  work: FilesToBring,
  context: SyncContext,
  progress: ModelProgress,
): Promise<void> {
  if (files.length === 0) return;
  const { store, model, variant, locks } = work;
  const folder = store.ingest(variant.location);
  using room = await makeRoom(files, work, context, progress);
  const told = { ...progress, onBytes: room.onBytes };
  await sideBySide(files, { atOnce: AT_ONCE, signal: context.signal }, async (file, signal) => {
    const lock = lockOf(file, work);
    const isThere = lock !== null && (await takePresent(file, work, { ...context, signal }, progress));
    if (!isThere) {
      await fetchFile(file, work, { ...context, signal }, told);
      await commitPartial(folder, file.digest, store.blob(model, file), { journaled: isJournaled(file) });
    }
    if (lock !== null) await locks.release(lock);
  });
}

/** Waits for another model's fetch of the same content, and shares that; fetches it where the other does not bring it. */
async function awaitModel(
  file: FileSpec,
  work: FilesToBring,
  context: SyncContext & { signal: AbortSignal },
  progress: ModelProgress,
): Promise<void> {
  const { store, model, variant, contents } = work;
  const arrived = await contents.arrival(file, {
    signal: context.signal,
    onWait: ({ host, what }) =>
      progress.onNote(`Waiting for ${host}, which is fetching ${file.path} as part of ${what}`, "info"),
  });
  // It may have come another way than was seen: who took over from the holder may be done as well.
  const path = arrived ?? (await findContent(context.layout, [file])).get(file.digest.hex);
  const [folder, target] = [store.ingest(variant.location), store.blob(model, file)];
  const missing = bytesToFetch([file], folder);
  if (!path || !(await shareContent({ file, path, folder, target }, context)))
    return fetchAll([file], work, context, progress);
  progress.onShared(missing);
}

/** Waits for another tool, which has the lock of the file; what it does not bring in time is fetched. */
async function awaitTool(
  file: FileSpec,
  work: FilesToBring,
  context: SyncContext & { signal: AbortSignal },
  progress: ModelProgress,
): Promise<void> {
  const { signal, toolWaitMs = TOOL_WAIT_MS } = context;
  progress.onNote(`Waiting for another tool, which is fetching ${file.path}`, "info");
  const lock = lockOf(file, work);
  if (lock !== null && !(await work.locks.wait(lock, { timeoutMs: toolWaitMs, signal })))
    progress.onNote(`Waited long enough for the other tool: fetching ${file.path} as well`, "info");
  await fetchAll([file], work, context, progress);
}

/** Whether another tool has brought the file meanwhile, and it is right. */
async function takePresent(
  file: FileSpec,
  { store, model, variant }: FilesToBring,
  { lanes, signal }: SyncContext,
  progress: ModelProgress,
): Promise<boolean> {
  const { size, digest } = file;
  const path = store.blob(model, file);
  if (!(await hasSize(path, size))) return false;
  const found = await lanes.run({ kind: "digest", path, size, algorithm: digest.algorithm }, { signal });
  if (found !== digest.hex) return false;
  const folder = store.ingest(variant.location);
  progress.onShared(bytesToFetch([file], folder));
  await dropPartial(folder, digest);
  return true;
}

/** Only of large files: what comes in one go is no matter. */
function lockOf(file: FileSpec, { store, model }: FileOwner): string | null {
  return isJournaled(file) ? store.toolLock(model, file) : null;
}
