import { recordedLicense } from "../content-policy.ts";
import type { FileSpec, StoredModel } from "../model.ts";
import { ContentLeases } from "../store/content-leases.ts";
import { hasSize } from "../store/has-size.ts";
import { asKept, type WhyKept } from "../store/kept-revisions.ts";
import { filesToFetch, missingFiles, writeManifest } from "../store/manifest.ts";
import type { ModelAt, ModelStore } from "../store/model-store.ts";
import { syncFiles } from "../store/sync-files.ts";
import { chosenFiles, describeAfterPlan, offlineMissing } from "./describe.ts";
import { bytesToFetch, fetchFiles } from "./fetch-files.ts";
import { sizeOf } from "./file-sizes.ts";
import { goneAway, type HeldModel, type ModelSource } from "./hold-lease.ts";
import { findContent, isShareable, shareContent } from "./known-content.ts";
import type { ModelProgress } from "./model-progress.ts";
import type { ModelDescription } from "./origin.ts";
import { refuseFoundLicense } from "./refuse-license.ts";
import { refusePickles } from "./refuse-pickles.ts";
import type { SyncContext } from "./sync-context.ts";
import { isJournaled } from "./transfer/job.ts";

/** What a model consists of in one revision. */
export interface FilePlan {
  revision: string;
  /** By the source, or the record; null where it says none. Left out where nobody was asked. */
  license?: string | null;
  /** To be fetched where they are missing. */
  files: readonly FileSpec[];
  manifest: string | null;
  /** Our own records, which vouch for the digests of what is there. */
  vouched: readonly StoredModel[];
}

/** Files are gone: the same revision again, and only those files. The manifest is written again from its text. */
export function planOf(record: StoredModel): FilePlan {
  const { revision, manifest, license } = record;
  return { revision, license, files: filesToFetch(record), manifest, vouched: [record] };
}

/** What its source has of it now. Throws MusterError. */
export async function newPlan({ variant }: ModelSource, context: SyncContext): Promise<FilePlan> {
  return describedPlan({ variant }, await describeAfterPlan(variant, context), context);
}

/** What a source's answer means for the variant. Throws as chooseFiles does. */
export function describedPlan(
  { variant }: Pick<ModelSource, "variant">,
  description: ModelDescription,
  context: Pick<SyncContext, "contentPolicy">,
): FilePlan {
  const { revision, manifest, card } = description;
  const { files } = chosenFiles(variant, description, context);
  return { revision, license: card?.license ?? null, files, manifest, vouched: [] };
}

/** Throws where the operator's policy is against what a plan consists of, however it comes here. */
export function refusePlan(
  spec: ModelSource,
  { files, license }: Pick<FilePlan, "files" | "license">,
  { contentPolicy }: Pick<SyncContext, "contentPolicy">,
): void {
  refusePickles(spec.variant.location, files, contentPolicy);
  if (license !== undefined) refuseFoundLicense(spec, license, { contentPolicy });
}

/** Fetches what is missing of it and writes the record, last. `kept`: beside the model's revision, which stays what everybody sees. */
export async function storePlan(
  { revision, files, manifest, vouched, license }: FilePlan,
  { spec, key, store, lease, bring = fetchFiles, action = "fetched", from }: HeldModel,
  context: SyncContext,
  progress: ModelProgress,
  kept?: WhyKept,
): Promise<StoredModel> {
  const { variant } = spec;
  const { layout } = context;
  refusePlan(spec, { files, license }, context);
  const model = { location: variant.location, requestedRevision: variant.revision, revision };
  const at = (file: FileSpec) => store.blob(model, file);
  const trusted = new Set(vouched.flatMap((record) => record.files.map((file) => store.blob(record, file))));
  const present = await presentFiles(files, { trusted, store, model, context });
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
  // Whoever was told to stop meanwhile begins nothing.
  if (missing.length > 0) context.signal?.throwIfAborted();
  progress.onPlan({ bytes, presentBytes, files: missing.length, revision });
  const origins: string[] = from === undefined ? [] : [from];
  const watched = { ...progress, onOrigin: (name: string) => void origins.push(name) };
  await bring({ variant, model, store, files: missing, contents, arriving }, context, watched);
  // Whoever brought what no record vouches for may have been interrupted before the disk had it.
  const found = [...present].filter((file) => !trusted.has(at(file)));
  const unsynced = [...missing.filter((file) => !isJournaled(file)), ...found];
  await syncFiles(unsynced.map(at), [...missing, ...found].map(at));
  const record: StoredModel = {
    key,
    source: variant.source,
    ...model,
    path: store.path(model),
    files: [...files],
    manifest,
    bytes,
    license: recordedLicense({ declared: spec.license, found: license ?? null }),
    quantization: variant.quantization,
    storedAt: new Date().toISOString(),
  };
  const stored = kept ? await keep(record, kept, store, context) : await show(record, store, context);
  // Before it is said that the model is there: who asks finds it in the trail.
  if (absent.length > 0 || found.length > 0 || action === "repaired") {
    const came = origins.length > 0 ? origins : ["this volume"];
    const why = kept ? "beside the revision that the model has" : undefined;
    await context.audit?.note({ action, model: stored, files: absent, from: came, why });
  }
  // Who removes a model that shares files with this one, and was frozen meanwhile, may not have seen the record.
  const [gone] = await missingFiles(stored);
  if (gone === undefined) return stored;
  throw goneAway(gone, spec);
}

async function show(record: StoredModel, store: ModelStore, { layout, signal }: SyncContext): Promise<StoredModel> {
  const files = [...(await store.publish(record, record.files, record.manifest, signal))];
  const stored = { ...record, files, bytes: sizeOf(files) };
  await writeManifest(layout, stored);
  await store.finish(stored);
  return stored;
}

async function keep(
  record: StoredModel,
  kept: WhyKept,
  store: ModelStore,
  { layout, signal }: SyncContext,
): Promise<StoredModel> {
  await store.keep(record, record.files, signal);
  const stored = asKept(record, kept);
  await writeManifest(layout, stored);
  return stored;
}

interface PresenceQuestion {
  /** Paths of blobs; others are another tool's and are checked once. */
  trusted: ReadonlySet<string>;
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
      trusted.has(path) || (await lanes.run({ kind: "digest", path, size: file.size, algorithm }, { signal })) === hex;
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
