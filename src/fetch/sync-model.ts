import { type MusterError, toMusterError } from "../errors.ts";
import type { FileSpec, ModelSpec, StoredModel } from "../model.ts";
import { hasBlob, prepareRepo, publishSnapshot, writeRef } from "../store/hub-cache.ts";
import { acquireLease } from "../store/lease.ts";
import { findComplete, manifestKey, modelPath, readManifest, writeManifest } from "../store/manifest.ts";
import { commitPartial, partialBytes } from "../store/partial-file.ts";
import { volumeError } from "../store/volume-error.ts";
import { chooseFiles } from "./choose-files.ts";
import { type DescribeContext, describe, offlineMissing, unsupported } from "./describe.ts";
import type { DiskBudget } from "./disk-budget.ts";
import { resolveUrl, subjectOf } from "./hub-client.ts";
import type { NoteLevel } from "./transfer/job.ts";
import type { Lanes } from "./transfer/lanes.ts";

export interface SyncContext extends DescribeContext {
  volume: string;
  lanes: Lanes;
  disk: DiskBudget;
}

export interface ModelProgress {
  onPlan(total: { bytes: number; presentBytes: number; files: number; revision: string }): void;
  onBytes(count: number): void;
  onNote(message: string, level: NoteLevel): void;
}

/** Makes one model complete on the volume and gives its record. What is there already is not fetched; throws MusterError. */
export async function syncModel(spec: ModelSpec, context: SyncContext, progress: ModelProgress): Promise<StoredModel> {
  const { variant } = spec;
  const complete = await findComplete(context.layout, variant);
  if (complete) return complete;
  if (variant.source !== "huggingface") throw unsupported(variant);
  const name = `${variant.source}:${variant.location}`;
  const lease = await acquireLease(context.layout.lease(name), {
    what: name,
    signal: context.signal,
    onWait: ({ host, since }) =>
      progress.onNote(`Waiting for ${host}, which has been fetching ${variant.location} since ${since}`, "info"),
  }).catch((error: unknown) => {
    throw volumeError(error, context.volume);
  });
  try {
    const signal = context.signal ? AbortSignal.any([context.signal, lease.lost]) : lease.lost;
    // While this one waited, the holder may have done it.
    return (await findComplete(context.layout, variant)) ?? (await fetchModel(spec, { ...context, signal }, progress));
  } catch (error) {
    throw toMusterError(lease.lost.aborted ? lease.lost.reason : volumeError(error, context.volume));
  } finally {
    await lease.release();
  }
}

async function fetchModel(spec: ModelSpec, context: SyncContext, progress: ModelProgress): Promise<StoredModel> {
  const { variant } = spec;
  const { layout } = context;
  const key = manifestKey(variant);
  // A record with files gone: the same commit again, and only those files.
  const known = await readManifest(layout, key);
  const { revision, files } = known ?? (await planFiles(spec, context));
  const present = await presentFiles(files, { trusted: known !== null, repo: variant.location, context });
  const missing = distinct(files.filter((file) => !present.has(file)));
  if (missing.length > 0 && context.offline) throw offlineMissing(variant);
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  const folder = layout.hub.ingest(variant.location);
  const partial = missing.reduce((sum, { digest, size }) => sum + partialBytes(folder, digest, size), 0);
  const missingBytes = missing.reduce((sum, { size }) => sum + size, 0);
  progress.onPlan({ bytes, presentBytes: bytes - missingBytes + partial, files: missing.length, revision });
  await fetchFiles(missing, { spec, revision, folder, needBytes: missingBytes - partial, context, progress });
  await publishSnapshot(layout.hub, variant.location, revision, files);
  const record = { source: variant.source, location: variant.location, requestedRevision: variant.revision, revision };
  const stored: StoredModel = {
    key,
    ...record,
    path: modelPath(layout, record),
    files: [...files],
    bytes,
    license: spec.license,
    storedAt: new Date().toISOString(),
  };
  await writeManifest(layout, stored);
  await writeRef(layout.hub, variant.location, variant.revision, revision);
  return stored;
}

async function planFiles(
  { variant }: ModelSpec,
  context: SyncContext,
): Promise<{ revision: string; files: FileSpec[] }> {
  const { revision, files } = await describe(variant, context);
  return { revision, files: chooseFiles(files, variant).files };
}

interface PresenceQuestion {
  /** Whether a record vouches for the digests, or the blobs are another tool's and are checked once. */
  trusted: boolean;
  repo: string;
  context: SyncContext;
}

async function presentFiles(
  files: readonly FileSpec[],
  { trusted, repo, context }: PresenceQuestion,
): Promise<Set<FileSpec>> {
  const { hub } = context.layout;
  const checks = files.map(async (file) => {
    if (!(await hasBlob(hub, repo, file))) return null;
    const job = { kind: "digest", path: hub.blob(repo, file.digest), size: file.size, digest: file.digest } as const;
    return trusted || (await context.lanes.run(job, { signal: context.signal })) ? file : null;
  });
  return new Set((await Promise.all(checks)).filter((file) => file !== null));
}

interface FetchWork {
  spec: ModelSpec;
  revision: string;
  folder: string;
  needBytes: number;
  context: SyncContext;
  progress: ModelProgress;
}

async function fetchFiles(missing: readonly FileSpec[], work: FetchWork): Promise<void> {
  if (missing.length === 0) return;
  const { spec, context, progress } = work;
  const repo = spec.variant.location;
  const subject = subjectOf(repo, context.hub);
  await prepareRepo(context.layout.hub, repo);
  const reservation = await context.disk.reserve(context.layout.hub.root, work.needBytes, repo);
  const local = new AbortController();
  const signal = context.signal ? AbortSignal.any([context.signal, local.signal]) : local.signal;
  try {
    const outcomes = await Promise.allSettled(
      missing.map(async ({ path, size, digest }) => {
        try {
          await context.lanes.run(
            {
              kind: "fetch",
              url: resolveUrl(context.hub.endpoint, repo, work.revision, path),
              authorization: context.hub.token ? `Bearer ${context.hub.token}` : null,
              name: `${repo}: ${path}`,
              page: subject.page,
              folder: work.folder,
              size,
              digest,
            },
            {
              signal,
              onBytes: (count) => {
                reservation.written(count);
                progress.onBytes(count);
              },
              onNote: progress.onNote,
            },
          );
          signal.throwIfAborted();
          await commitPartial(work.folder, digest, context.layout.hub.blob(repo, digest));
        } catch (error) {
          local.abort(error);
          throw error;
        }
      }),
    );
    if (outcomes.some(({ status }) => status === "rejected"))
      throw context.signal?.aborted ? context.signal.reason : local.signal.reason;
  } finally {
    reservation.release();
  }
}

/** Files of the same content are one blob, fetched once. */
function distinct(files: readonly FileSpec[]): FileSpec[] {
  return [...new Map(files.map((file) => [file.digest.hex, file])).values()];
}

/** True for errors after which another attempt of the same kind is worth making by itself. */
export function isTransient(error: MusterError): boolean {
  return error.retryable || error.code === "DISK_FULL";
}
