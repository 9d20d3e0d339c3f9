import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { StoredModel } from "../model.ts";
import type { Layout } from "./layout.ts";

const BLOCK_BYTES = 512;

/** Bytes of the disk by what holds them: device and inode, so that what has several names counts once. */
export type Inodes = Map<string, number>;

/** What a model's files take, whatever names they have besides. */
export async function inodesOf({ path, files }: Pick<StoredModel, "path" | "files">): Promise<Inodes> {
  const found = await Promise.all(files.map((file) => stat(join(path, file.path)).catch(() => null)));
  return new Map(found.flatMap((each) => (each ? [inode(each)] : [])));
}

/** Everything below a folder; links are not followed. */
export async function inodesBelow(folder: string, inodes: Inodes = new Map()): Promise<Inodes> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await inodesBelow(path, inodes);
    // What vanishes while it is counted is not used any more.
    const found = entry.isFile() ? await stat(path).catch(() => null) : null;
    if (found) inodes.set(...inode(found));
  }
  return inodes;
}

export function bytesOf(inodes: Inodes): number {
  return [...inodes.values()].reduce((sum, bytes) => sum + bytes, 0);
}

/** What the disk gets back when these go and those stay. */
export async function freedBytes(gone: readonly StoredModel[], kept: readonly StoredModel[]): Promise<number> {
  const needed = await Promise.all(kept.map(inodesOf));
  const freed = new Map((await Promise.all(gone.map(inodesOf))).flatMap((inodes) => [...inodes]));
  for (const inodes of needed) for (const id of inodes.keys()) freed.delete(id);
  return bytesOf(freed);
}

export interface ModelUsage {
  model: StoredModel;
  /** All that it needs. */
  bytes: number;
  /** What of that no other model needs: what removing it brings. */
  ownBytes: number;
}

export interface VolumeUsage {
  models: ModelUsage[];
  /** By folder of models: all that is there, and what of it no record names, such as other tools' models and unfinished files. */
  folders: { path: string; bytes: number; unrecordedBytes: number }[];
  /** All of it, each byte once. */
  bytes: number;
}

/** What takes how much of the volume. */
export async function measureVolume(layout: Layout, models: readonly StoredModel[]): Promise<VolumeUsage> {
  const needed = await Promise.all(models.map(async (model) => ({ model, inodes: await inodesOf(model) })));
  const users = new Map<string, number>();
  for (const { inodes } of needed) for (const id of inodes.keys()) users.set(id, (users.get(id) ?? 0) + 1);
  const all: Inodes = new Map();
  const folders = [];
  for (const path of layout.modelFolders) {
    const inodes = await inodesBelow(path);
    for (const entry of inodes) all.set(...entry);
    const unrecorded = new Map([...inodes].filter(([id]) => !users.has(id)));
    folders.push({ path, bytes: bytesOf(inodes), unrecordedBytes: bytesOf(unrecorded) });
  }
  return {
    models: needed.map(({ model, inodes }) => ({
      model,
      bytes: bytesOf(inodes),
      ownBytes: bytesOf(new Map([...inodes].filter(([id]) => users.get(id) === 1))),
    })),
    folders,
    bytes: bytesOf(all),
  };
}

function inode({ dev, ino, blocks }: { dev: number; ino: number; blocks: number }): [string, number] {
  return [`${dev}:${ino}`, blocks * BLOCK_BYTES];
}
