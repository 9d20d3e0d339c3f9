import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { type FileSpec, SOURCES, type StoredModel, type Variant } from "../model.ts";
import { hasSize } from "./has-size.ts";
import { type Layout, slug } from "./layout.ts";
import { storeOf } from "./model-store.ts";
import { writeFileDurably } from "./write-durably.ts";

/** The record of a model, written when every byte of it is in place. Who finds one needs a stat a file, and no network. */

const digest = z.object({ algorithm: z.enum(["sha256", "git-sha1"]), hex: z.string().regex(/^[0-9a-f]+$/) });

const manifestSchema = z.object({
  formatVersion: z.literal(1),
  key: z.string(),
  source: z.enum(SOURCES),
  location: z.string(),
  requestedRevision: z.string(),
  revision: z.string(),
  files: z.array(z.object({ path: z.string(), size: z.int().nonnegative(), digest })),
  manifest: z.string().nullable().default(null),
  bytes: z.int().nonnegative(),
  license: z.string().nullable(),
  quantization: z.string().nullable().default(null),
  storedAt: z.string(),
  kept: z.object({ of: z.string(), since: z.string(), usedBy: z.array(z.string()).nullable() }).optional(),
});

/** Name of the record: the source, and what of it was chosen, whatever the catalog calls the model. */
export function manifestKey({
  source,
  location,
  revision,
  format,
  quantization,
  include,
  exclude,
  allowPickle,
}: Variant): string {
  const choice = createHash("sha256")
    .update(JSON.stringify([source, location, revision, format, quantization, include, exclude, allowPickle]))
    .digest("hex");
  return `${slug(`${source}--${location}@${revision}`)}--${choice.slice(0, 8)}`;
}

/** The record, or null where there is none or it cannot be understood (then the model counts as missing). */
export async function readManifest(layout: Layout, key: string): Promise<StoredModel | null> {
  return readRecord(layout, layout.manifest(key));
}

/** The record of the variant if all it names is there; a stat a file. */
export async function findComplete(layout: Layout, variant: Variant): Promise<StoredModel | null> {
  const model = await readManifest(layout, manifestKey(variant));
  return model && (await isComplete(layout, model)) ? model : null;
}

export async function isComplete(layout: Layout, model: StoredModel): Promise<boolean> {
  const isFinished = model.kept !== undefined || (await storeOf(layout, model.source).isFinished(model));
  return isFinished && (await missingFiles(model)).length === 0;
}

export async function writeManifest(layout: Layout, model: StoredModel): Promise<void> {
  await writeFileDurably(
    layout.manifest(model.key),
    `${JSON.stringify({ formatVersion: 1, ...model, path: undefined }, null, 2)}\n`,
  );
}

/** Every readable record on the volume. */
export async function listManifests(layout: Layout): Promise<StoredModel[]> {
  const names = await readdir(layout.manifests).catch(() => []);
  const records = await Promise.all(
    names.filter((name) => name.endsWith(".json")).map((name) => readRecord(layout, join(layout.manifests, name))),
  );
  return records.filter((record) => record !== null);
}

/** The files of a record without the source's own manifest, which is written from its text. */
export function filesToFetch({ files, manifest }: Pick<StoredModel, "files" | "manifest">): FileSpec[] {
  const written = manifest === null ? null : createHash("sha256").update(manifest).digest("hex");
  return files.filter(({ digest }) => digest.hex !== written);
}

/** The files that a record names and the volume does not have with their size. */
export async function missingFiles(model: Pick<StoredModel, "path" | "files">): Promise<string[]> {
  const checks = await Promise.all(
    model.files.map(async ({ path, size }) => {
      return (await hasSize(join(model.path, path), size)) ? null : path;
    }),
  );
  return checks.filter((path) => path !== null);
}

/** A record from wherever it stands; null where it cannot be understood. */
export async function readRecord(layout: Layout, path: string): Promise<StoredModel | null> {
  return parseManifest(layout, await readFile(path, "utf8").catch(() => null));
}

function parseManifest(layout: Layout, text: string | null): StoredModel | null {
  if (text === null) return null;
  try {
    const { formatVersion: _, ...record } = manifestSchema.parse(JSON.parse(text));
    // Derived, never recorded: the volume may be mounted elsewhere on the next host.
    const path = storeOf(layout, record.source).path(record);
    return { ...record, path };
  } catch {
    return null;
  }
}
