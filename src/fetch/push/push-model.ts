import { join } from "node:path";
import { MusterError, toMusterError } from "../../errors.ts";
import type { StoredModel } from "../../model.ts";
import { sizeOf } from "../file-sizes.ts";
import { mapSome } from "../map-some.ts";
import {
  PUBLISHED_NAME,
  type PublishedFile,
  type PublishedModel,
  parsePublished,
  showPublished,
} from "../published-model.ts";
import { CheckedFile } from "./checked-file.ts";
import type { PushTarget } from "./push-target.ts";

/** Files under way at once; memory is bounded by the target. */
const AT_ONCE = 8;
const READ = 1 << 20;

export interface PushOptions {
  signal: AbortSignal;
  /** Only say what would be sent. */
  dryRun: boolean;
  /** Known before the first byte is sent. */
  onPlan: (plan: PushPlan) => void;
  onBytes: (count: number) => void;
}

export interface PushPlan {
  bytes: number;
  files: number;
  missingBytes: number;
  missingFiles: number;
}

/**
 * Takes a model that is complete on the volume to a bucket or another disk: what is missing there, each file checked
 * against the record while it is read, the manifest last. Throws MusterError.
 */
export async function pushModel(stored: StoredModel, target: PushTarget, options: PushOptions): Promise<PushPlan> {
  const { signal, dryRun } = options;
  const own = await mapSome(stored.files, AT_ONCE, async (file): Promise<PublishedFile> => {
    const { algorithm, hex } = file.digest;
    return { ...file, sha256: algorithm === "sha256" ? hex : await sha256Of(stored, file, signal) };
  });
  const text = await target.readManifest(signal);
  const before = readable(text, target.name);
  const published = merge(stored, own, before, target.name);
  const present = await mapSome(own, AT_ONCE, (file) => target.has(file, signal));
  const missing = own.filter((_file, index) => !present[index]);
  const plan: PushPlan = {
    bytes: sizeOf(own),
    files: own.length,
    missingBytes: sizeOf(missing),
    missingFiles: missing.length,
  };
  options.onPlan(plan);
  const manifest = showPublished(published);
  if (dryRun || (missing.length === 0 && manifest === text)) return plan;
  await target.prepare(plan.missingBytes);
  // Who finds a manifest takes the folder for whole, so none stands there while files change under it.
  if (text !== null && before?.revision !== stored.revision) await target.remove(PUBLISHED_NAME, signal);
  await putAll(stored, target, missing, options);
  const kept = new Set(published.files.map(({ path }) => path));
  for (const { path } of before?.files ?? []) if (!kept.has(path)) await target.remove(path, signal);
  await target.writeManifest(manifest, signal);
  return plan;
}

/** The first failure ends all; what others have sent whole stays. */
async function putAll(
  stored: StoredModel,
  target: PushTarget,
  files: readonly PublishedFile[],
  { signal, onBytes }: PushOptions,
): Promise<void> {
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  // Largest first, so that the end is not one long file alone.
  const outcomes = await mapSome(
    files.toSorted((a, b) => b.size - a.size),
    AT_ONCE,
    async (file) => {
      try {
        either.throwIfAborted();
        await using content = await CheckedFile.open(join(stored.path, file.path), file);
        await target.put(file, content, { signal: either, onBytes });
        return null;
      } catch (error) {
        stop.abort(error);
        return error;
      }
    },
  );
  if (outcomes.some((error) => error !== null)) throw toMusterError(either.reason);
}

async function sha256Of(stored: StoredModel, file: StoredModel["files"][number], signal: AbortSignal): Promise<string> {
  await using content = await CheckedFile.open(join(stored.path, file.path), file);
  for (let position = 0; position < file.size; position += READ) {
    signal.throwIfAborted();
    await content.read(READ);
  }
  return content.finish();
}

/** What stands there already; a manifest that cannot be read is written anew. */
function readable(text: string | null, where: string): PublishedModel | null {
  try {
    return text === null ? null : parsePublished(text, where);
  } catch {
    return null;
  }
}

/** Of the same revision other choices of files (another format, another quantization) stay beside these. */
function merge(
  stored: StoredModel,
  own: PublishedFile[],
  before: PublishedModel | null,
  where: string,
): PublishedModel {
  const { source, location, requestedRevision, revision, license, key } = stored;
  if (before && (before.source !== source || before.location !== location)) {
    throw new MusterError("USAGE", `${where} holds ${before.location} already, not ${location}.`, {
      hint: "Names that differ in - and / only get the same folder: push to another prefix or folder.",
    });
  }
  const same = before?.revision === revision ? before : null;
  const paths = new Set(own.map(({ path }) => path));
  const files = [...own, ...(same?.files ?? []).filter(({ path }) => !paths.has(path))];
  return {
    formatVersion: 1,
    source,
    location,
    requestedRevision,
    revision,
    keys: same && same.keys === null ? null : [...new Set([...(same?.keys ?? []), key])].toSorted(),
    license,
    files: files.toSorted((a, b) => (a.path < b.path ? -1 : 1)),
  };
}
