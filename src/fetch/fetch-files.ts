import { type MusterError, toMusterError } from "../errors.ts";
import type { FileSpec, Variant } from "../model.ts";
import type { ContentLeases } from "../store/content-leases.ts";
import type { ModelAt, ModelStore } from "../store/model-store.ts";
import { commitPartial, partialBytes } from "../store/partial-file.ts";
import { briefly } from "./ask.ts";
import { findContent, shareContent } from "./known-content.ts";
import type { FileOrigin, Origin } from "./origin.ts";
import { sideBySide } from "./side-by-side.ts";
import type { ModelProgress, SyncContext } from "./sync-context.ts";
import { isJournaled, type TransferJob } from "./transfer/job.ts";
import { tryOrigins, waitNote } from "./try-origins.ts";

export interface FilesToFetch {
  variant: Variant;
  model: ModelAt;
  store: ModelStore;
  files: readonly FileSpec[];
  contents: ContentLeases;
  /** Of the files, those that another model's holder of their content is fetching. */
  arriving: ReadonlySet<FileSpec>;
}

/** Files under way: enough for the connections of all lanes over small ones. */
const AT_ONCE = 64;
/** Files that are waited for at once. */
const WAITING = 8;
/** A link or token that is refused again and again, each time new, is not merely expired. */
const NEW_LINKS = 4;

/** Brings the files and gives them their names, side by side; small ones are not synced. The first failure ends all. Throws MusterError. */
export async function fetchFiles(work: FilesToFetch, context: SyncContext, progress: ModelProgress): Promise<void> {
  const { files, arriving, store, model } = work;
  if (files.length === 0) return;
  await store.prepare(model);
  const ordered = files.toSorted((a, b) => b.size - a.size);
  const own = ordered.filter((file) => !arriving.has(file));
  await fetchAll(own, work, context, progress);
  // Only now, with nothing left that others may be waiting for: so nobody waits in a circle.
  const others = ordered.filter((file) => arriving.has(file));
  await sideBySide(others, { atOnce: WAITING, signal: context.signal }, (file, signal) =>
    awaitFile(file, work, { ...context, signal }, progress),
  );
}

/** Bytes of the files that are not in partials yet. */
export function bytesToFetch(files: readonly FileSpec[], folder: string): number {
  return files.reduce((sum, { digest, size }) => sum + size - partialBytes(folder, digest, size), 0);
}

async function fetchAll(
  files: readonly FileSpec[],
  work: FilesToFetch,
  context: SyncContext,
  progress: ModelProgress,
): Promise<void> {
  if (files.length === 0) return;
  const { store, model, variant } = work;
  const folder = store.ingest(variant.location);
  const reservation = await context.disk.reserve(store.root, bytesToFetch(files, folder), variant.location);
  const onBytes = (count: number) => {
    reservation.written(count);
    progress.onBytes(count);
  };
  try {
    await sideBySide(files, { atOnce: AT_ONCE, signal: context.signal }, async (file, signal) => {
      await fetchFile(file, work, { ...context, signal }, { ...progress, onBytes });
      await commitPartial(folder, file.digest, store.blob(model, file), { journaled: isJournaled(file) });
    });
  } finally {
    reservation.release();
  }
}

/** Waits for another model's fetch of the same content, and shares that; fetches it where the other does not bring it. */
async function awaitFile(
  file: FileSpec,
  work: FilesToFetch,
  context: SyncContext & { signal: AbortSignal },
  progress: ModelProgress,
): Promise<void> {
  const arrived = await work.contents.arrival(file, {
    signal: context.signal,
    onWait: ({ host, what }) =>
      progress.onNote(`Waiting for ${host}, which is fetching ${file.path} as part of ${what}`, "info"),
  });
  // It may have come another way than was seen: who took over from the holder may be done as well.
  const path = arrived ?? (await findContent(context.layout, [file])).get(file.digest.hex);
  const [folder, target] = [work.store.ingest(work.variant.location), work.store.blob(work.model, file)];
  if (!path || !(await shareContent({ file, path, folder, target }, context)))
    return fetchAll([file], work, context, progress);
  progress.onShared(file.size);
}

/** Leaves finished ranges in the partial, so that the next origin goes on where the last one failed. */
async function fetchFile(
  file: FileSpec,
  { variant, model, store }: FilesToFetch,
  context: SyncContext & { signal: AbortSignal },
  progress: ModelProgress,
): Promise<void> {
  const { signal } = context;
  const folder = store.ingest(variant.location);
  const origins = context.origins[variant.source];
  const fetchFrom = async (origin: Origin, isPatient: boolean) => {
    for (let attempt = 1; ; attempt += 1) {
      let hasMoved = false;
      const onBytes = (count: number) => {
        hasMoved ||= count > 0;
        progress.onBytes(count);
      };
      const from = await origin.locate(variant, model.revision, file, {
        ...(isPatient ? context.ask : briefly(context.ask)),
        signal,
      });
      const job = toJob(from, { name: `${variant.location}: ${file.path}`, file, folder, patient: isPatient });
      try {
        return await context.lanes.run(job, { signal, onBytes, onNote: progress.onNote });
      } catch (error) {
        const failure = toMusterError(error);
        // A link that brought bytes was a good one: of a large file over a slow line several run out.
        if (hasMoved && failure.code === "REDIRECT_EXPIRED") attempt = 0;
        if (!worthAnother(failure, { attempt, isPatient, from })) throw error;
        progress.onNote(`${failure.message} ${failure.hint}`, "warn");
      }
    }
  };
  await tryOrigins(origins, fetchFrom, {
    signal,
    onFailover: (error, next) => progress.onNote(`${error.message} Going on with ${next.name}`, "warn"),
    onWait: (origin, waitMs) => progress.onNote(waitNote(origin, waitMs), "warn"),
  });
  signal.throwIfAborted();
}

/** Whether the same origin is asked once more: for a new link or token, or because nobody else could serve a better copy. */
function worthAnother(
  { code }: MusterError,
  { attempt, isPatient, from }: { attempt: number; isPatient: boolean; from: FileOrigin },
): boolean {
  if (code === "ACCESS_REFUSED" || code === "TOKEN_INVALID")
    return from.kind === "http" && from.renewable === true && attempt < NEW_LINKS;
  if (code === "REDIRECT_EXPIRED") return from.kind === "http" && from.signed && attempt < NEW_LINKS;
  return code === "DIGEST_MISMATCH" && isPatient && attempt === 1;
}

interface JobDetails {
  name: string;
  file: FileSpec;
  folder: string;
  /** No other origin is left to turn to. */
  patient: boolean;
}

function toJob(from: FileOrigin, { name, file, folder, patient }: JobDetails): TransferJob {
  const { size, digest } = file;
  if (from.kind === "path") return { kind: "copy", path: from.path, name, folder, size, digest };
  const { url, authorization, page, settings, signed } = from;
  return { kind: "fetch", url, authorization, page, settings, signed, name, folder, size, digest, patient };
}
