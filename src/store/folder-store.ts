import { existsSync } from "node:fs";
import { constants, copyFile, mkdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { FileSpec, Source } from "../model.ts";
import { hasSize } from "./has-size.ts";
import type { Layout } from "./layout.ts";
import { makeFolder } from "./make-folder.ts";
import type { ModelStore } from "./model-store.ts";
import { syncFolder } from "./partial-file.ts";

/** Models as plain folders of files, a folder a revision. A folder appears whole, by one rename. */
export function folderStore({ folders }: Layout, source: Source): ModelStore {
  return {
    root: folders.root,
    leaseName: (location) => `${source}:${location}`,
    path: ({ location, revision }) => folders.model(source, location, revision),
    ingest: (location) => folders.ingest(source, location),
    blob({ location, revision }, { path }) {
      const shown = folders.model(source, location, revision);
      return join(existsSync(shown) ? shown : folders.staged(source, location, revision), path);
    },
    prepare: ({ location }) => makeFolder(folders.ingest(source, location)),
    publish: ({ location, revision }, files) =>
      showFolder(folders.staged(source, location, revision), folders.model(source, location, revision), files),
    finish: async () => undefined,
    isFinished: async () => true,
  };
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
  await syncFolder(folder);
}

async function isThere(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null)) !== null;
}
