import { join } from "node:path";
import { MusterError, toMusterError } from "../../errors.ts";
import { plainVariant, type StoredModel } from "../../model.ts";
import { OwnHold } from "../../store/holds.ts";
import { keptKey } from "../../store/kept-revisions.ts";
import { storeOf } from "../../store/model-store.ts";
import { commitPartial, dropPartial } from "../../store/partial-file.ts";
import { removeModel } from "../../store/remove-model.ts";
import { type FilesToFetch, makeRoom } from "../fetch-files.ts";
import { shareContent } from "../known-content.ts";
import type { ModelProgress } from "../model-progress.ts";
import { storeRecord } from "../store-record.ts";
import type { SyncContext } from "../sync-context.ts";
import { isJournaled, type NoteLevel } from "../transfer/job.ts";
import { trimRevisions } from "../update-model.ts";
import { type BundledModel, type Content, contentName } from "./bundle-manifest.ts";
import { fillPartial } from "./fill-partial.ts";
import type { Bundle } from "./open-bundle.ts";
import { checkSpace, type ImportContext, type ImportPlan, inOwnWords } from "./plan-import.ts";
import { isToStore, stateOnVolume, type VolumeState } from "./volume-state.ts";

export interface ImportOutcome {
  model: BundledModel;
  state: "imported" | "updated" | "present" | "differs" | "failed";
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
  context: ImportContext,
  observer: ImportObserver,
): Promise<ImportOutcome[]> {
  await checkSpace(plan, context);
  const done = await importHeld(bundle, plan, context, observer);
  // Only now: what this process holds is not removed.
  for (const { outcome, found } of done) await tidyUp(outcome, found, context);
  return done.map(({ outcome }) => outcome);
}

async function importHeld(
  bundle: Bundle,
  plan: ImportPlan,
  context: ImportContext,
  observer: ImportObserver,
): Promise<Imported[]> {
  const { layout, signal } = context;
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
  const done: Imported[] = [];
  for (const { model } of plan.models) {
    signal.throwIfAborted();
    done.push(await importModel(model, work));
    signal.throwIfAborted();
  }
  await bundle.finish();
  return done;
}

interface Importing {
  bundle: Bundle;
  /** Where the volume has contents of this bundle, by name: of a stream they come by once. */
  placed: Map<string, string>;
  context: ImportContext;
  observer: ImportObserver;
}

interface Imported {
  outcome: ImportOutcome;
  /** As it was before. */
  found: VolumeState;
}

async function importModel(model: BundledModel, work: Importing): Promise<Imported> {
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
  const seen: { found: VolumeState } = { found: { state: "missing", record: null } };
  try {
    if (context.servers?.[source]) throw atServer(model);
    outcome.stored = await storeRecord(
      {
        key,
        spec: { variant, license },
        from: work.bundle.name,
        plan: { revision: model.revision, license, files: model.files, manifest: model.manifest, vouched: [] },
        bring: (files, leased, told) =>
          bring(files, { ...work, context: { ...context, ...leased, signal: leased.signal ?? context.signal } }, told),
        async look() {
          seen.found = await stateOnVolume(model, layout);
          return isToStore(seen.found, context.update !== null);
        },
      },
      context,
      progress,
    );
    const { found } = seen;
    outcome.state = found.state === "missing" ? "imported" : outcome.stored ? "updated" : found.state;
    outcome.stored ??= found.state === "present" ? found.record : null;
    const { stored } = outcome;
    if (stored) for (const file of stored.files) placed.set(contentName(file), join(stored.path, file.path));
  } catch (error) {
    outcome.state = "failed";
    outcome.error = inOwnWords(toMusterError(error));
  }
  return { outcome, found: seen.found };
}

/** Of the revision before: one that lacks files is nothing to go back to, and of whole ones so many are kept. */
async function tidyUp({ model, stored }: ImportOutcome, found: VolumeState, context: ImportContext): Promise<void> {
  const { layout, signal, update, audit } = context;
  const { key } = model;
  const { state, record } = found;
  if (!stored || !record || record.revision === stored.revision) return;
  if (state === "missing")
    await removeModel(layout, keptKey(key, record.revision), signal, async (old) =>
      audit?.note({ action: "removed", model: old, files: old.files, why: "not whole, and replaced by an import" }),
    );
  else if (update) await trimRevisions(layout, { key, keep: update.keepRevisions, audit }, signal);
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
  using room = await makeRoom(files, work, context, progress);
  for (const file of files) {
    const target = store.blob(model, file);
    const content: Content = { ...file, name: contentName(file) };
    const read = (from: number) => bundle.read(content, from);
    const outcome = await fillPartial({ folder, file, read, once: bundle.isStream, signal, onBytes: room.onBytes });
    if (outcome === "wrong") throw damaged(bundle.name, `${variant.location}: ${file.path}`, content.name);
    if (outcome === "right") await commitPartial(folder, file.digest, target, { journaled: isJournaled(file) });
    else await copyPlaced(file, { path: placed.get(content.name), folder, target }, bundle.name, context);
    placed.set(content.name, target);
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

function damaged(bundle: string, file: string, content: string): MusterError {
  return new MusterError("BUNDLE_INVALID", `${bundle} is damaged: ${content} (${file}) is not what its name says.`, {
    hint: "Copy it here once more and run the same `muster import` again; what was right is on the volume, and is not read again.",
  });
}

function atServer({ location }: BundledModel): MusterError {
  return new MusterError("SOURCE_UNSUPPORTED", `${location} belongs to a server that keeps its own store.`, {
    hint: "Import it where OLLAMA_MODELS is the store that the server runs on, with OLLAMA_STORE=volume.",
  });
}
