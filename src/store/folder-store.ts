import { existsSync } from "node:fs";
import { constants, copyFile, mkdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { FileSpec, Source, StoredModel } from "../model.ts";
import { hasSize } from "./has-size.ts";
import type { Layout } from "./layout.ts";
import { syncFolder } from "./partial-file.ts";
import { syncFiles } from "./sync-files.ts";

type ModelRevision = Pick<StoredModel, "location" | "revision">;

/** Models as plain folders of files, a folder a revision. A folder appears whole, by one rename. */

/** The folder where the model's files stand: shown, or while it is put together. */
export function folderOf({ folders }: Layout, source: Source, { location, revision }: ModelRevision): string {
  const shown = folders.model(source, location, revision);
  return existsSync(shown) ? shown : folders.staged(source, location, revision);
}

/** Shows the model, all its files being in place. */
export async function publishFolder(
  { folders }: Layout,
  source: Source,
  { location, revision, files }: ModelRevision & { files: readonly FileSpec[] },
): Promise<void> {
  const staged = folders.staged(source, location, revision);
  await showFolder(staged, folders.model(source, location, revision), files);
}

async function showFolder(staged: string, target: string, files: readonly FileSpec[]): Promise<void> {
  if (await isThere(target)) return placeTwins(target, files);
  await placeTwins(staged, files);
  await mkdir(dirname(target), { recursive: true });
  await rename(staged, target).catch(async (error: unknown) => {
    // Or somebody else has shown it meanwhile, whole.
    if (!(await isThere(target))) throw error;
  });
  await syncFolder(dirname(target));
}

/** What has the same content was fetched once, under one of its names; the others are made of that. */
async function placeTwins(folder: string, files: readonly FileSpec[]): Promise<void> {
  const placed = new Map<string, string>();
  const lacking: FileSpec[] = [];
  for (const file of files) {
    const place = join(folder, file.path);
    if (await hasSize(place, file.size)) placed.set(file.digest.hex, place);
    else lacking.push(file);
  }
  for (const { path, digest } of lacking) {
    const twin = placed.get(digest.hex);
    if (!twin) throw new Error(`${path} is not in ${folder}`);
    const place = join(folder, path);
    const temporary = `${place}.${crypto.randomUUID()}.tmp`;
    await mkdir(dirname(place), { recursive: true });
    try {
      await copyFile(twin, temporary, constants.COPYFILE_FICLONE);
      await rename(temporary, place);
    } finally {
      await rm(temporary, { force: true });
    }
  }
  const copied = lacking.map(({ path }) => join(folder, path));
  await syncFiles(copied, copied);
}

async function isThere(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null)) !== null;
}
