import { readFile } from "node:fs/promises";
import * as z from "zod";
import { hasSystemCode, MusterError } from "../errors.ts";
import { SOURCES, type StoredModel, type Variant } from "../model.ts";
import { isKept } from "../store/kept-revisions.ts";
import { filesToFetch, manifestKey } from "../store/manifest.ts";
import { digestOf } from "../store/ollama-store.ts";
import { isSafePath } from "./sources/safe-path.ts";

/**
 * models.lock.json: which revision of each model is fetched, and of which files it consists. With the files, and an Ollama
 * model's manifest, nothing has to be asked of the source but these bytes.
 */

const lockedSchema = z.strictObject({
  key: z
    .string()
    .min(1)
    .describe("The record that the model has on a volume: its source, and which files were chosen."),
  source: z.enum(SOURCES),
  location: z.string().min(1),
  requestedRevision: z.string().describe("What the catalog asks for; `main` where it names none."),
  revision: z
    .string()
    .regex(/^\w[\w.:-]*$/)
    .describe("The commit, the digest of the manifest, or the digest of the content."),
  manifest: z.string().optional().describe("Of an Ollama model the very text, whose sha256 is the revision."),
  files: z
    .array(
      z.strictObject({
        path: z.string().refine(isSafePath, "a relative path that stays in its folder"),
        size: z.int().nonnegative(),
        digest: z.string().regex(/^(sha256:[0-9a-f]{64}|git-sha1:[0-9a-f]{40})$/),
      }),
    )
    .describe("Empty for a model that an Ollama server keeps by itself."),
});

/** Its JSON Schema is docs/models.lock.schema.json. */
export const lockSchema = z.strictObject({
  $schema: z.string().optional(),
  lockVersion: z.literal(1),
  models: z.array(lockedSchema),
});

export type LockedModel = z.output<typeof lockedSchema>;

/** By key. */
export type Lock = ReadonlyMap<string, LockedModel>;

/** Reads it anew, so that a lock that was changed holds from then on. Throws LOCK_INVALID. */
export type LockReader = () => Promise<Lock>;

/** Null where there is none. Throws LOCK_INVALID. */
export async function readLock(path: string): Promise<Lock | null> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    if (hasSystemCode(error, "ENOENT")) return null;
    throw invalid(path, `it cannot be read (${(error as NodeJS.ErrnoException).code})`, error);
  });
  return text === null ? null : parseLock(text, path);
}

export async function needLock(path: string): Promise<Lock> {
  const lock = await readLock(path);
  if (lock) return lock;
  throw invalid(path, "there is none");
}

/** In the order of source, name and key, a line a file. */
export function showLock(lock: Lock): string {
  const nameOf = ({ source, location, key }: LockedModel) => `${source} ${location} ${key}`;
  const models = [...lock.values()].toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
  const text = JSON.stringify({ lockVersion: 1, models } satisfies z.input<typeof lockSchema>, null, 2);
  return `${text.replace(/\{\s+("path": .*,)\s+("size": .*,)\s+("digest": .*)\s+\}/g, "{ $1 $2 $3 }")}\n`;
}

/** What a lock says of a model as it is on the volume. */
export function lockedOf(record: StoredModel): LockedModel {
  if (isKept(record)) throw new Error(`${record.key} is no model's own record`);
  const { key, source, location, requestedRevision, revision, manifest } = record;
  const files = filesToFetch(record).map(({ path, size, digest }) => ({
    ...{ path, size },
    digest: `${digest.algorithm}:${digest.hex}`,
  }));
  return {
    ...{ key, source, location, requestedRevision, revision },
    ...(manifest === null ? {} : { manifest }),
    files: files.toSorted((a, b) => (a.path < b.path ? -1 : 1)),
  };
}

/** What the lock has for the variant. Throws NOT_LOCKED. */
export function lockedModel(lock: Lock, variant: Variant): LockedModel {
  const locked = lock.get(manifestKey(variant));
  if (locked) return locked;
  const { location, revision } = variant;
  throw new MusterError("NOT_LOCKED", `The lock has no ${location} at ${revision} with the files of ${variant.id}.`, {
    hint: `Where it is complete on a volume, \`muster lock ${location}\` adds it; without MODELS_LOCKED and --locked it is fetched as it is now.`,
  });
}

function parseLock(text: string, path: string): Lock {
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch (cause) {
    throw invalid(path, "it is not JSON", cause);
  }
  const { data, error } = lockSchema.safeParse(given);
  if (!data) {
    const [issue] = error.issues;
    throw invalid(path, `${issue?.path.join(".") || "it"}: ${issue?.message}`, error);
  }
  for (const model of data.models) {
    const problem = ollamaProblem(model);
    if (problem) throw invalid(path, `${model.location}: ${problem}`);
  }
  const lock = new Map(data.models.map((model) => [model.key, model]));
  if (lock.size === data.models.length) return lock;
  throw invalid(path, "two of its models have the same key");
}

/** What a digest names is checked by that; this names the others. */
function ollamaProblem({ source, manifest, revision, files }: LockedModel): string | null {
  if (source !== "ollama") return manifest === undefined ? null : "only an Ollama model has a manifest";
  if (manifest === undefined) return files.length === 0 ? null : "an Ollama model with files has a manifest";
  if (digestOf(manifest) !== revision) return "the manifest is not that of the revision";
  const isBlob = files.every(({ path, digest }) => path === `blobs/${digest.replace(":", "-")}`);
  return isBlob ? null : "a file of it is no blob of its digest";
}

function invalid(path: string, why: string, cause?: unknown): MusterError {
  return new MusterError("LOCK_INVALID", `${path} is no lock that this version can read: ${why}.`, {
    hint: `Write it anew with \`muster lock --file ${path}\`, or name another with MODELS_LOCK.`,
    cause,
  });
}
