import { judgeLicense } from "../../content-policy.ts";
import { MusterError, toMusterError } from "../../errors.ts";
import type { FileSpec } from "../../model.ts";
import { hasSize } from "../../store/has-size.ts";
import type { Layout } from "../../store/layout.ts";
import { storeOf } from "../../store/model-store.ts";
import { partialBytes } from "../../store/partial-file.ts";
import { findContent, isShareable } from "../known-content.ts";
import type { SyncContext } from "../sync-context.ts";
import { type BundledModel, contentName } from "./bundle-manifest.ts";
import type { Bundle } from "./open-bundle.ts";
import { isToStore, stateOnVolume, type VolumeState } from "./volume-state.ts";

export interface PlannedModel {
  model: BundledModel;
  found: VolumeState;
  missingBytes: number;
  /** By the operator's policy. */
  refused: MusterError | null;
  /** What is to be told of it, though it is taken. */
  notice: string | null;
}

export interface ImportPlan {
  models: PlannedModel[];
  /** Of all models in the bundle, on a volume that has none of them. */
  bytes: number;
  missingBytes: number;
  missingFiles: number;
}

export interface ImportContext extends SyncContext {
  signal: AbortSignal;
  /** Also takes models to the bundle's revision that have another; so many of the revisions before are kept then. Null: they stay. */
  update: { keepRevisions: number } | null;
}

/** What of a bundle the volume lacks. */
export async function planImport({ models }: Pick<Bundle, "models">, context: ImportContext): Promise<ImportPlan> {
  const { layout, update } = context;
  const all = new Map(models.flatMap((model) => model.files.map((file) => [placeOf(model, file, layout), file.size])));
  const plan: ImportPlan = { models: [], bytes: sum([...all.values()]), missingBytes: 0, missingFiles: 0 };
  const counted = new Set<string>();
  for (const model of models) {
    const found = await stateOnVolume(model, layout);
    const isWanted = isToStore(found, update !== null);
    const { location, license } = model;
    const policy = isWanted ? context.contentPolicy.licenses : null;
    const said = judgeLicense(location, { declared: license, found: license }, policy);
    const missing = isWanted && !said.refused ? await missingContents(model, context) : [];
    const own = missing.filter(({ place }) => !counted.has(place));
    for (const { place } of own) counted.add(place);
    plan.models.push({ model, found, missingBytes: sum(own.map(({ bytes }) => bytes)), ...said });
    plan.missingFiles += own.length;
  }
  plan.missingBytes = sum(plan.models.map(({ missingBytes }) => missingBytes));
  return plan;
}

/** For all of them, before anything is written: half a restore helps nobody. */
export async function checkSpace({ models }: ImportPlan, { layout, disk }: SyncContext): Promise<void> {
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
  model: BundledModel,
  { layout }: SyncContext,
): Promise<{ place: string; bytes: number }[]> {
  const { files } = model;
  const store = storeOf(layout, model.source);
  const folder = store.ingest(model.location);
  const known = await findContent(layout, files);
  const found = new Map<string, number>();
  for (const file of files) {
    if (known.has(file.digest.hex) || (await hasSize(store.blob(model, file), file.size))) continue;
    const bytes = file.size - partialBytes(folder, file.digest, file.size);
    found.set(placeOf(model, file, layout), bytes);
  }
  return [...found].map(([place, bytes]) => ({ place, bytes }));
}

/** What is written once: a large content that several models have, which is linked then; of small ones each model's own. */
function placeOf(model: BundledModel, file: FileSpec, layout: Layout): string {
  return isShareable(file) ? contentName(file) : storeOf(layout, model.source).blob(model, file);
}

/** What a fetch is told to run again is this import here. */
export function inOwnWords(error: MusterError): MusterError {
  const hint = error.hint
    .replaceAll("for one `muster sync`", "for this `muster import`")
    .replaceAll("`muster sync`", "the same `muster import`");
  return hint === error.hint
    ? error
    : new MusterError(error.code, error.message, { ...error, hint, cause: error.cause });
}

function sum(counts: readonly number[]): number {
  return counts.reduce((all, count) => all + count, 0);
}
