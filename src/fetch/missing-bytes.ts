import type { FileSpec, Variant } from "../model.ts";
import { hasSize } from "../store/has-size.ts";
import { findComplete, manifestKey, readManifest } from "../store/manifest.ts";
import { storeOf } from "../store/model-store.ts";
import { partialBytes } from "../store/partial-file.ts";
import { chosenFiles, knownDescription, knownSurvey } from "./describe.ts";
import { sizeOf } from "./file-sizes.ts";
import { planOfLock } from "./move-to-locked.ts";
import type { SyncContext } from "./sync-context.ts";

export interface ModelAmounts {
  state: "stored" | "partial" | "missing";
  /** null where the size is not known without fetching. */
  bytesTotal: number | null;
  bytesPresent: number;
  bytesMissing: number | null;
}

/**
 * What of a variant the volume has and lacks. Asks no source: it goes by records and the last description. Of models that
 * a server keeps, it goes by what that says; one that does not answer has nothing.
 */
export async function missingBytes(
  variant: Variant,
  context: Pick<SyncContext, "layout" | "described" | "surveyed" | "servers" | "lock" | "contentPolicy">,
): Promise<ModelAmounts> {
  const server = context.servers?.[variant.source];
  const locked = (await context.lock?.().catch(() => null))?.get(manifestKey(variant)) ?? null;
  const found = server ? await server.find(variant).catch(() => null) : await findComplete(context.layout, variant);
  const stored = locked && found?.revision !== locked.revision ? null : found;
  if (stored) return { state: "stored", bytesTotal: stored.bytes, bytesPresent: stored.bytes, bytesMissing: 0 };
  const store = storeOf(context.layout, variant.source);
  const expected = locked ? planOfLock(locked) : await expectedFiles(variant, context);
  if (!expected || server) {
    const seen = knownSurvey(variant, context);
    const files = expected?.files ?? (seen && chosenFiles(variant, seen, context).files);
    const bytes = files ? sizeOf(files) : variant.sizeBytes;
    return { state: "missing", bytesTotal: bytes, bytesPresent: 0, bytesMissing: bytes };
  }
  const { files, revision } = expected;
  const model = { location: variant.location, requestedRevision: variant.revision, revision };
  const folder = store.ingest(variant.location);
  const present = await Promise.all(
    files.map(async (file) =>
      (await hasSize(store.blob(model, file), file.size)) ? file.size : partialBytes(folder, file.digest, file.size),
    ),
  );
  const bytesTotal = sizeOf(files);
  const bytesPresent = present.reduce((sum, count) => sum + count, 0);
  return {
    state: bytesPresent > 0 ? "partial" : "missing",
    bytesTotal,
    bytesPresent,
    bytesMissing: bytesTotal - bytesPresent,
  };
}

async function expectedFiles(
  variant: Variant,
  context: Pick<SyncContext, "layout" | "described" | "contentPolicy">,
): Promise<{ files: readonly FileSpec[]; revision: string } | null> {
  const record = await readManifest(context.layout, manifestKey(variant));
  if (record) return record;
  const description = await knownDescription(variant, context);
  return description && { ...description, files: chosenFiles(variant, description, context).files };
}
