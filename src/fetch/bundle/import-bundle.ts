import { join } from "node:path";
import { MusterError, toMusterError } from "../../errors.ts";
import { plainVariant, type StoredModel } from "../../model.ts";
import { hasSize } from "../../store/has-size.ts";
import { OwnHold } from "../../store/holds.ts";
import { storeOf } from "../../store/model-store.ts";
import { commitPartial, dropPartial, partialBytes } from "../../store/partial-file.ts";
import { bytesToFetch, type FilesToFetch } from "../fetch-files.ts";
import { findContent, isShareable, shareContent } from "../known-content.ts";
import type { ModelProgress } from "../model-progress.ts";
import type { SyncContext } from "../sync-context.ts";
import { storeRecord } from "../sync-model.ts";
import { isJournaled, type NoteLevel } from "../transfer/job.ts";
import { type BundledModel, type Content, contentName } from "./bundle-manifest.ts";
import { fillPartial } from "./fill-partial.ts";
import type { Bundle } from "./open-bundle.ts";
import { stateOnVolume, type VolumeState } from "./volume-state.ts";

export interface ImportPlan {
  models: { model: BundledModel; found: VolumeState; missingBytes: number }[];
  /** Of all models in the bundle, each content once. */
  bytes: number;
  missingBytes: number;
  missingFiles: number;
}

/** What of a bundle the volume lacks. */
export async function planImport({ models }: Pick<Bundle, "models">, context: SyncContext): Promise<ImportPlan> {
  const { layout } = context;
  const all = new Map(models.flatMap(({ files }) => files).map((file) => [contentName(file), file.size]));
  const plan: ImportPlan = { models: [], bytes: sum([...all.values()]), missingBytes: 0, missingFiles: 0 };
  const counted = new Set<string>();
  for (const model of models) {
    const found = await stateOnVolume(model, layout);
    const missing = found.state === "missing" ? await missingContents(model, context) : [];
    const own = missing.filter(({ place }) => !counted.has(place));
    for (const { place } of own) counted.add(place);
    plan.models.push({ model, found, missingBytes: sum(own.map(({ bytes }) => bytes)) });
    plan.missingFiles += own.length;
  }
  plan.missingBytes = sum(plan.models.map(({ missingBytes }) => missingBytes));
  return plan;
}

export interface ImportOutcome {
  model: BundledModel;
  state: "imported" | "present" | "kept" | "failed";
  stored: StoredModel | null;
  /** That were written now. */
  writtenBytes: number;
  error: MusterError | null;
}

export interface ImportObserver {
  onBytes(count: number): void;
  onNote(message: string, level: NoteLevel): void;
}

/**
 * Adds what the volume lacks, model by model in the bundle's order, each under its lease as a fetch does: content by content
 * into a partial, its name once the digest is right, the record last. What is wrong with one model is told in its outcome, and
 * the next is gone on with. Throws DISK_FULL or QUOTA_EXCEEDED before the first byte, BUNDLE_INVALID, or the reason of the signal.
 */
export async function importBundle(
  bundle: Bundle,
  plan: ImportPlan,
  context: SyncContext & { signal: AbortSignal },
  observer: ImportObserver,
): Promise<ImportOutcome[]> {
  const { layout, signal } = context;
  await checkSpace(plan, context);
  const held = plan.models.map(({ model: { key, source, location } }) => ({
    key,
    lease: storeOf(layout, source).leaseName(location),
  }));
  // What is there already stays while the rest comes.
  await using _hold = await OwnHold.take(layout, {
    name: "muster import",
    workerType: null,
    models: held,
    catalog: [],
  });
  const work: Importing = { bundle, placed: new Map(), context: { ...context, offline: false }, observer };
  const outcomes: ImportOutcome[] = [];
  for (const { model } of plan.models) {
    signal.throwIfAborted();
    outcomes.push(await importModel(model, work));
    signal.throwIfAborted();
  }
  await bundle.finish();
  return outcomes;
}

interface Importing {
  bundle: Bundle;
  /** Where the volume has contents of this bundle, by name: of a stream they come by once. */
  placed: Map<string, string>;
  context: SyncContext & { signal: AbortSignal };
  observer: ImportObserver;
}

async function importModel(model: BundledModel, work: Importing): Promise<ImportOutcome> {
  const { context, observer, placed } = work;
  const { layout } = context;
  const outcome: ImportOutcome = { model, state: "imported", stored: null, writtenBytes: 0, error: null };
  const { key, source, location, requestedRevision, quantization, license } = model;
  const variant = plainVariant({ id: key, source, location, revision: requestedRevision, quantization });
  const progress: ModelProgress = {
    onPlan: () => undefined,
    onShared: () => undefined,
    onBytes(count) {
      outcome.writtenBytes += count;
      observer.onBytes(count);
    },
    onNote: observer.onNote,
  };
  try {
    if (context.servers?.[source]) throw atServer(model);
    outcome.stored = await storeRecord(
      model,
      {
        spec: { variant, license },
        bring: (files, leased, told) =>
          bring(files, { ...work, context: { ...leased, signal: leased.signal ?? context.signal } }, told),
        async look() {
          const found = await stateOnVolume(model, layout);
          if (found.state === "missing")
            return { isMissing: true, isRecorded: found.record?.revision === model.revision };
          outcome.state = found.state;
          return { isMissing: false, stored: found.state === "present" ? found.record : null };
        },
      },
      context,
      progress,
    );
    const { stored } = outcome;
    if (stored) for (const file of stored.files) placed.set(contentName(file), join(stored.path, file.path));
  } catch (error) {
    outcome.state = "failed";
    outcome.error = inOwnWords(toMusterError(error));
  }
  return outcome;
}

/** In the place of fetching, with the same marks left by a kill at any moment. */
async function bring(
  work: FilesToFetch,
  { bundle, placed, context }: Importing,
  progress: ModelProgress,
): Promise<void> {
  const { files, store, model, variant } = work;
  const { signal } = context;
  if (files.length === 0) return;
  await store.prepare(model);
  const folder = store.ingest(variant.location);
  const reservation = await context.disk.reserve(store.root, bytesToFetch(files, folder), variant.location);
  const onBytes = (count: number) => {
    reservation.written(count);
    progress.onBytes(count);
  };
  try {
    for (const file of files) {
      const target = store.blob(model, file);
      const content: Content = { ...file, name: contentName(file) };
      const read = (from: number) => bundle.read(content, from);
      const outcome = await fillPartial({ folder, file, read, once: bundle.isStream, signal, onBytes });
      if (outcome === "wrong") throw damaged(bundle.name, `${variant.location}: ${file.path}`, content.name);
      if (outcome === "right") await commitPartial(folder, file.digest, target, { journaled: isJournaled(file) });
      else await copyPlaced(file, { path: placed.get(content.name), folder, target }, bundle.name, context);
      placed.set(content.name, target);
    }
  } finally {
    reservation.release();
  }
}

/** Of a stream: what an earlier model of the bundle has too is on the volume under that model's name. */
async function copyPlaced(
  file: FilesToFetch["files"][number],
  { path, folder, target }: { path: string | undefined; folder: string; target: string },
  name: string,
  context: SyncContext,
): Promise<void> {
  if (path !== undefined) await dropPartial(folder, file.digest);
  if (path !== undefined && (await shareContent({ file, path, folder, target }, context))) return;
  throw new MusterError("STORE_CHANGED", `${file.path} has come by in ${name}, and is not on the volume any more.`, {
    hint: "Run the same `muster import` again: from a file that is not packed it reads in any order.",
  });
}

/** For all of them, before anything is written: half a restore helps nobody. */
async function checkSpace({ models }: ImportPlan, { layout, disk }: SyncContext): Promise<void> {
  const roots = Map.groupBy(models, ({ model }) => storeOf(layout, model.source).root);
  const reservations = [];
  try {
    for (const [root, those] of roots) {
      const bytes = sum(those.map(({ missingBytes }) => missingBytes));
      if (bytes > 0) reservations.push(await disk.reserve(root, bytes, "The bundle"));
    }
  } catch (error) {
    throw inOwnWords(toMusterError(error));
  } finally {
    for (const reservation of reservations) reservation.release();
  }
}

async function missingContents(
  { source, location, requestedRevision, revision, files }: BundledModel,
  { layout }: SyncContext,
): Promise<{ place: string; bytes: number }[]> {
  const store = storeOf(layout, source);
  const folder = store.ingest(location);
  const known = await findContent(layout, files);
  const found = new Map<string, number>();
  for (const file of files) {
    const target = store.blob({ location, requestedRevision, revision }, file);
    if (known.has(file.digest.hex) || (await hasSize(target, file.size))) continue;
    const bytes = file.size - partialBytes(folder, file.digest, file.size);
    // A large content that several models have is written once, and linked; small ones each write.
    found.set(isShareable(file) ? contentName(file) : target, bytes);
  }
  return [...found].map(([place, bytes]) => ({ place, bytes }));
}

function damaged(bundle: string, file: string, content: string): MusterError {
  return new MusterError("BUNDLE_INVALID", `${bundle} is damaged: ${content} (${file}) is not what its name says.`, {
    hint: "Copy it here once more and run the same `muster import` again; what was right is on the volume, and is not read again.",
  });
}

/** What a fetch is told to run again is this import here. */
function inOwnWords(error: MusterError): MusterError {
  const hint = error.hint.replaceAll("`muster sync`", "the same `muster import`");
  return hint === error.hint
    ? error
    : new MusterError(error.code, error.message, { ...error, hint, cause: error.cause });
}

function atServer({ location }: BundledModel): MusterError {
  return new MusterError("SOURCE_UNSUPPORTED", `${location} belongs to a server that keeps its own store.`, {
    hint: "Import it where OLLAMA_MODELS is the store that the server runs on, with OLLAMA_STORE=volume.",
  });
}

function sum(counts: readonly number[]): number {
  return counts.reduce((all, count) => all + count, 0);
}
