import { link, mkdir, readFile, realpath, rename, rm, stat } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import * as z from "zod";
import { hasSystemCode, MusterError } from "../errors.ts";
import type { StoredModel } from "../model.ts";
import { filesBelow } from "./files-below.ts";
import type { Layout } from "./layout.ts";
import { syncFolder } from "./partial-file.ts";
import { removeWhole } from "./remove-folders.ts";
import { writeFileDurably } from "./write-durably.ts";

/**
 * Repositories of the hub as plain folders of the volume too (`/models/acme-tiny/…`), for what knows no hub cache: hard links
 * to the same blobs, of the revision that was made complete last. A mark says which folders are ours; no other is touched.
 */

type Shown = Pick<StoredModel, "location" | "revision">;

const markSchema = z.object({ formatVersion: z.literal(1), location: z.string() });

/** Where folders are wanted, or this repository has one. Under the model's lease. Throws LOCAL_DIR_REFUSED. */
export async function showLocalDir(layout: Layout, { location, revision }: Shown): Promise<void> {
  const { local, hub } = layout;
  const folder = local.folder(location);
  const owner = await ownerOf(layout, location);
  const isOwn = owner === location;
  if (!isOwn && !local.isWanted) return;
  if (!isOwn && (owner !== null || (await stat(folder).catch(() => null)))) throw taken(folder, location);
  const snapshot = hub.snapshot(location, revision);
  const shown = await filesBelow(snapshot);
  const blobs = await Promise.all(shown.map((path) => realpath(path)));
  const files = new Map(shown.map((path, index) => [relative(snapshot, path), blobs[index]!]));
  if (await showsThese(folder, files)) return;
  // Before the folder: one without a mark is somebody else's for ever.
  await writeFileDurably(local.mark(location), `${JSON.stringify({ formatVersion: 1, location })}\n`);
  const staged = local.staged(location);
  await rm(staged, { recursive: true, force: true });
  try {
    await mkdir(staged);
    for (const [path, blob] of files) {
      await mkdir(dirname(join(staged, path)), { recursive: true });
      await link(blob, join(staged, path));
    }
    await rm(local.hidden(location), { recursive: true, force: true });
    await rename(folder, local.hidden(location)).catch((error: unknown) => {
      if (!hasSystemCode(error, "ENOENT")) throw error;
    });
    await rename(staged, folder);
    await syncFolder(dirname(folder));
  } catch (error) {
    throw hasSystemCode(error, "EXDEV", "EPERM", "EMLINK", "ENOTSUP") ? cannotLink(folder, location, error) : error;
  } finally {
    for (const each of [staged, local.hidden(location)]) await rm(each, { recursive: true, force: true });
  }
}

/** The folder goes, if it is ours. */
export async function hideLocalDir(layout: Layout, location: string): Promise<void> {
  if ((await ownerOf(layout, location)) !== location) return;
  const { local } = layout;
  // What a kill has left there is as large as the model.
  for (const each of [local.staged(location), local.hidden(location)]) await rm(each, { recursive: true, force: true });
  await removeWhole(local.folder(location), local.hidden(location));
  await rm(local.mark(location), { force: true });
}

/** Whether the repository has a folder of ours. */
export async function hasLocalDir(layout: Layout, location: string): Promise<boolean> {
  const owner = await ownerOf(layout, location);
  return owner === location && (await stat(layout.local.folder(location)).catch(() => null)) !== null;
}

/** The repository that a folder of this name shows; null where it is not ours. */
async function ownerOf({ local }: Layout, location: string): Promise<string | null> {
  const text = await readFile(local.mark(location), "utf8").catch(() => null);
  try {
    return text === null ? null : markSchema.parse(JSON.parse(text)).location;
  } catch {
    return null;
  }
}

async function showsThese(folder: string, files: ReadonlyMap<string, string>): Promise<boolean> {
  if ((await filesBelow(folder)).length !== files.size) return false;
  const same = await Promise.all([...files].map(([path, blob]) => isSameFile(join(folder, path), blob)));
  return files.size > 0 && same.every(Boolean);
}

async function isSameFile(one: string, other: string): Promise<boolean> {
  const found = (path: string) => stat(path).catch(() => null);
  const [a, b] = await Promise.all([found(one), found(other)]);
  return a !== null && b !== null && a.ino === b.ino && a.dev === b.dev;
}

function taken(folder: string, location: string): MusterError {
  return new MusterError(
    "LOCAL_DIR_REFUSED",
    `${folder} is not muster's, so ${location} cannot be shown there. All of it is in the hub cache.`,
    { hint: `Move it away (\`mv ${folder} ${folder}.old\`), or unset LOCAL_DIRS; then run \`muster sync\`.` },
  );
}

function cannotLink(folder: string, location: string, cause: unknown): MusterError {
  return new MusterError(
    "LOCAL_DIR_REFUSED",
    `${folder} cannot be made of hard links to the files of ${location} in the hub cache.`,
    {
      hint: "LOCAL_DIRS needs HF_HUB_CACHE on the file system of MODEL_CACHE_DIR, one that has hard links; unset it otherwise, then run `muster sync`.",
      cause,
    },
  );
}
