import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";

const BLOCK_BYTES = 512;

/** Bytes that everything below the folders takes of the disk; what is linked counts once, holes do not. */
export async function usedBytes(folders: readonly string[]): Promise<number> {
  const seen = new Map<string, number>();
  await Promise.all(folders.map((folder) => addFolder(folder, seen)));
  return [...seen.values()].reduce((sum, bytes) => sum + bytes, 0);
}

async function addFolder(folder: string, seen: Map<string, number>): Promise<void> {
  // What vanishes while it is counted is not used any more.
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await addFolder(path, seen);
    if (!entry.isFile()) continue;
    const found = await stat(path).catch(() => null);
    if (found) seen.set(`${found.dev}:${found.ino}`, found.blocks * BLOCK_BYTES);
  }
}
