import { stat } from "node:fs/promises";
import type { StoredModel } from "../../model.ts";
import { readRef } from "../../store/hub-cache.ts";
import type { Layout } from "../../store/layout.ts";
import { isComplete, readManifest } from "../../store/manifest.ts";
import { readManifestDigest } from "../../store/ollama-store.ts";
import type { BundledModel } from "./bundle-manifest.ts";

export type VolumeState =
  /** `record`: what lacks files, of this or of another revision. */
  | { state: "missing"; record: StoredModel | null }
  | { state: "present"; record: StoredModel }
  /** The name leads to another revision, of our own record where there is one. */
  | { state: "differs"; record: StoredModel | null; revision: string };

/** What the volume has of a model of a bundle; a stat a file. */
export async function stateOnVolume(model: BundledModel, layout: Layout): Promise<VolumeState> {
  const record = await readManifest(layout, model.key);
  if (record && (await isComplete(layout, record)))
    return record.revision === model.revision
      ? { state: "present", record }
      : { state: "differs", record, revision: record.revision };
  const shown = await shownRevision(model, layout);
  if (shown === null || shown === model.revision || shown === record?.revision) return { state: "missing", record };
  return { state: "differs", record: null, revision: shown };
}

/** Whether an import stores it: where it differs only if that is wanted, and never over what others have made. */
export function isToStore(found: VolumeState, update: boolean): boolean {
  return found.state === "missing" || (found.state === "differs" && update && found.record !== null);
}

/** What the name leads to for Python's tools or for Ollama, whoever made that; null for nothing. */
async function shownRevision(
  { source, location, requestedRevision }: BundledModel,
  layout: Layout,
): Promise<string | null> {
  if (source === "ollama") return readManifestDigest(layout.ollama, location);
  if (source !== "huggingface") return null;
  const commit = await readRef(layout.hub, location, requestedRevision);
  const isThere = commit !== null && (await stat(layout.hub.snapshot(location, commit)).catch(() => null)) !== null;
  return isThere ? commit : null;
}
