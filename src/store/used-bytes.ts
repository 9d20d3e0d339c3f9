import { bytesOf, type Inodes, inodesBelow } from "./disk-usage.ts";

/** Bytes that everything below the folders takes of the disk; what is linked counts once, holes do not. */
export async function usedBytes(folders: readonly string[]): Promise<number> {
  const seen: Inodes = new Map();
  await Promise.all(folders.map((folder) => inodesBelow(folder, seen)));
  return bytesOf(seen);
}
