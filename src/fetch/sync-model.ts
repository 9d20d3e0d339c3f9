import { createHash } from "node:crypto";
import { hasSystemCode, MusterError, toMusterError } from "../errors.ts";
import type { FileSpec, ModelSpec, StoredModel } from "../model.ts";
import { ContentLeases } from "../store/content-leases.ts";
import { hasSize } from "../store/has-size.ts";
import { acquireLease, type Lease } from "../store/lease.ts";
import { findComplete, manifestKey, missingFiles, readManifest, writeManifest } from "../store/manifest.ts";
import { type ModelAt, type ModelStore, storeOf } from "../store/model-store.ts";
import { syncFiles } from "../store/sync-files.ts";
import { volumeError } from "../store/volume-error.ts";
import { chosenFiles, describe, offlineMissing } from "./describe.ts";
import { bytesToFetch, fetchFiles } from "./fetch-files.ts";
import { sizeOf } from "./file-sizes.ts";
import { findContent, isShareable, shareContent } from "./known-content.ts";
import type { ModelProgress } from "./model-progress.ts";
import { syncAtServer } from "./sync-at-server.ts";
import type { SyncContext } from "./sync-context.ts";
import { isJournaled } from "./transfer/job.ts";

/** Where what was found in place is taken away meanwhile, by another tool or a removal. */
const ATTEMPTS = 3;

/** Where a model is had from, and what its record says of it besides. */
export type ModelSource = Pick<ModelSpec, "variant" | "license">;

/** Makes one model complete on the volume and gives its record. What is there already is not fetched; throws MusterError. */
export async function syncModel(spec: ModelSpec, context: SyncContext, progress: ModelProgress): Promise<StoredModel> {
  const { variant } = spec;
  const server = context.servers?.[variant.source];
  if (server) return syncAtServer(spec, server, context, progress);
  const complete = await findComplete(context.layout, variant);
  if (complete) return complete;
  return holding(spec, manifestKey(variant), context, progress, async (held, leased) => {
    for (let attempt = 1; ; attempt += 1) {
      // While this one waited, the holder may have done it.
      const stored =
        (await findComplete(context.layout, variant)) ??
        (await storeModel(held, leased, progress).catch((cause: unknown) => {
          const error = hasSystemCode(cause, "ENOENT") ? goneAway(String(cause.path), spec, cause) : cause;
          if (attempt === ATTEMPTS || toMusterError(error).code !== "STORE_CHANGED") throw error;
          return null;
        }));
      if (stored) return stored;
    }
  });
}

/**
 * Fetches again what `discard` takes away of a recorded model, under its lease; the same revision, and nothing else of it.
 * `spec`: where the record's model is had from.
 */
export async function repairModel(
  record: StoredModel,
  { spec, discard }: { spec: ModelSource; discard: () => Promise<void> },
  context: SyncContext,
  progress: ModelProgress,
): Promise<StoredModel> {
  return holding(spec, record.key, context, progress, async (held, leased) => {
    await discard();
    const current = (await readManifest(context.layout, record.key)) ?? record;
    return storePlan(planOf(current), { ...held, action: "repaired" }, leased, progress);
  });
}

async function holding(
  spec: ModelSource,
  key: string,
  context: SyncContext,
  progress: ModelProgress,
  work: (held: HeldModel, context: SyncContext) => Promise<StoredModel>,
): Promise<StoredModel> {
  const { variant } = spec;
  const store = storeOf(context.layout, variant.source);
  const name = store.leaseName(variant.location);
  const startedAt = performance.now();
  let hasWaited = false;
  const lease = await acquireLease(context.layout.lease(name), {
    what: name,
    signal: context.signal,
    onWait: ({ host, since }) => {
      hasWaited = true;
      progress.onNote(`Waiting for ${host}, which has been fetching ${variant.location} since ${since}`, "info");
    },
  }).catch((error: unknown) => {
    throw volumeError(error, context.volume);
  });
  if (hasWaited) progress.onLeaseWait?.(performance.now() - startedAt);
  try {
    const signal = context.signal ? AbortSignal.any([context.signal, lease.lost]) : lease.lost;
    return await work({ spec, key, store, lease, action: "fetched" }, { ...context, signal });
  } catch (error) {
    throw toMusterError(lease.lost.aborted ? lease.lost.reason : volumeError(error, context.volume));
  } finally {
    await lease.release();
  }
}

/** A model that this process holds the lease of. */
interface HeldModel {
  spec: ModelSource;
  /** Of its record. */
  key: string;
  store: ModelStore;
  lease: Lease;
  /** As the audit trail calls what is done. */
  action: "fetched" | "repaired";
}

async function storeModel(held: HeldModel, context: SyncContext, progress: ModelProgress): Promise<StoredModel> {
  const { spec, key } = held;
  const record = await readManifest(context.layout, key);
  if (!record) return storePlan(await newPlan(spec, context), held, context, progress);
  try {
    return await storePlan(planOf(record), held, context, progress);
  } catch (error) {
    // What the record names may be gone from its source: a tag has moved on, a branch was written anew.
    if (!isGone(toMusterError(error))) throw error;
    const plan = await newPlan(spec, context);
    if (plan.revision === record.revision) throw error;
    progress.onNote(`${record.location} has moved from ${record.revision} to ${plan.revision}`, "warn");
    return storePlan(plan, held, context, progress);
  }
}

function isGone({ code }: MusterError): boolean {
  return ["FILE_NOT_FOUND", "REPO_NOT_FOUND", "REVISION_NOT_FOUND"].includes(code);
}

async function storePlan(
  { revision, files, manifest, recorded }: FilePlan,
  { spec, key, store, lease, action }: HeldModel,
  context: SyncContext,
  progress: ModelProgress,
): Promise<StoredModel> {
  const { variant, license } = spec;
  const { layout } = context;
  const model = { location: variant.location, requestedRevision: variant.revision, revision };
  const present = await presentFiles(files, { trusted: recorded, store, model, context });
  const absent = distinct(files.filter((file) => !present.has(file)));
  const held = { name: store.leaseName(variant.location), number: lease.number };
  await using contents = new ContentLeases({ layout, lease: held, source: variant.source, model });
  // Before the records are looked at: who gives content back has written its record.
  const arriving = await contents.take(absent.filter(isShareable));
  const missing = await shareKnown(absent, { store, model, context });
  const shared = sizeOf(absent) - sizeOf(missing);
  if (shared > 0) progress.onShared(shared);
  if (missing.length > 0 && context.offline) throw offlineMissing(variant);
  const bytes = sizeOf(files);
  const presentBytes = bytes - bytesToFetch(missing, store.ingest(variant.location));
  progress.onPlan({ bytes, presentBytes, files: missing.length, revision });
  const from: string[] = [];
  const watched = { ...progress, onOrigin: (name: string) => void from.push(name) };
  await fetchFiles({ variant, model, store, files: missing, contents, arriving }, context, watched);
  // Whoever brought what no record vouches for may have been interrupted before the disk had it.
  const found = recorded ? [] : [...present];
  const at = (file: FileSpec) => store.blob(model, file);
  const unsynced = [...missing.filter((file) => !isJournaled(file)), ...found];
  await syncFiles(unsynced.map(at), [...missing, ...found].map(at));
  const published = await store.publish(model, files, manifest, context.signal);
  const stored: StoredModel = {
    key,
    source: variant.source,
    ...model,
    path: store.path(model),
    files: [...published],
    manifest,
    bytes: sizeOf(published),
    license,
    quantization: variant.quantization,
    storedAt: new Date().toISOString(),
  };
  await writeManifest(layout, stored);
  await store.finish(model);
  // Before it is said that the model is there: who asks finds it in the trail.
  if (absent.length > 0 || !recorded || action === "repaired")
    await context.audit?.note({ action, model: stored, files: absent, from: from.length > 0 ? from : ["this volume"] });
  // Who removes a model that shares files with this one, and was frozen meanwhile, may not have seen the record.
  const [gone] = await missingFiles(stored);
  if (gone === undefined) return stored;
  throw goneAway(gone, spec);
}

/** Another tool, or a removal of a model that shares the file, was quicker. */
function goneAway(path: string, { variant }: ModelSource, cause?: unknown): MusterError {
  return new MusterError(
    "STORE_CHANGED",
    `${path} of ${variant.location} went away while the rest of it was fetched.`,
    {
      hint: "Run `muster sync` again.",
      cause,
    },
  );
}

interface FilePlan {
  revision: string;
  /** To be fetched where they are missing. */
  files: readonly FileSpec[];
  manifest: string | null;
  /** Our own record vouches for the digests of what is there. */
  recorded: boolean;
}

/** Files are gone: the same revision again, and only those files. The manifest is written again from its text. */
function planOf({ revision, files, manifest }: StoredModel): FilePlan {
  const written = manifest === null ? null : createHash("sha256").update(manifest).digest("hex");
  return { revision, files: files.filter(({ digest }) => digest.hex !== written), manifest, recorded: true };
}

async function newPlan({ variant }: ModelSource, context: SyncContext): Promise<FilePlan> {
  const description = await describe(variant, context);
  const { revision, manifest } = description;
  return { revision, files: chosenFiles(variant, description).files, manifest, recorded: false };
}

interface PresenceQuestion {
  /** Or else the blobs are another tool's and are checked once. */
  trusted: boolean;
  store: ModelStore;
  model: ModelAt;
  context: SyncContext;
}

async function presentFiles(
  files: readonly FileSpec[],
  { trusted, store, model, context }: PresenceQuestion,
): Promise<Set<FileSpec>> {
  const { lanes, signal } = context;
  const checks = files.map(async (file) => {
    const path = store.blob(model, file);
    if (!(await hasSize(path, file.size))) return null;
    const { algorithm, hex } = file.digest;
    const isRight =
      trusted || (await lanes.run({ kind: "digest", path, size: file.size, algorithm }, { signal })) === hex;
    return isRight ? file : null;
  });
  return new Set((await Promise.all(checks)).filter((file) => file !== null));
}

/** Takes from other models on the volume what they have too; gives what is still missing. */
async function shareKnown(
  missing: FileSpec[],
  { store, model, context }: Omit<PresenceQuestion, "trusted">,
): Promise<FileSpec[]> {
  const known = await findContent(context.layout, missing);
  if (known.size > 0) await store.prepare(model);
  const shared = await Promise.all(
    missing.map((file) => {
      const path = known.get(file.digest.hex);
      const [folder, target] = [store.ingest(model.location), store.blob(model, file)];
      return path !== undefined && shareContent({ file, path, folder, target }, context);
    }),
  );
  return missing.filter((_, index) => !shared[index]);
}

/** Files of the same content are one blob, fetched once. */
function distinct(files: readonly FileSpec[]): FileSpec[] {
  return [...new Map(files.map((file) => [file.digest.hex, file])).values()];
}

/** True for errors after which another attempt of the same kind is worth making by itself. */
export function isTransient(error: MusterError): boolean {
  return error.retryable || error.code === "DISK_FULL" || error.code === "QUOTA_EXCEEDED";
}
