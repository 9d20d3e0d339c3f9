import { open } from "node:fs/promises";
import { join } from "node:path";
import type { StoredModel } from "../../model.ts";
import type { Layout } from "../../store/layout.ts";
import { mapSome } from "../map-some.ts";
import { type FileState, realRoots, resolveInside } from "./check-model.ts";

/** Enough of them keep a disk's queue full. */
const AT_ONCE = 4;
const READ = 4 << 20;

/** The files of the models on the disk, the largest first, each once; what leads out of the volume is left out. */
export async function filesOnDisk(models: readonly StoredModel[], layout: Layout): Promise<FileState[]> {
  const roots = await realRoots(layout);
  const paths = models.flatMap(({ path, files }) => files.map((file) => join(path, file.path)));
  const found = await mapSome(paths, AT_ONCE * 4, (path) => resolveInside(path, roots));
  const files = found.filter((state) => typeof state !== "string");
  return [...new Map(files.map((file) => [file.ino, file])).values()].toSorted((a, b) => b.size - a.size);
}

/** Reads them to their ends, for the page cache to have them. Throws as the system does, or the reason of the signal. */
export async function readFiles(
  files: readonly FileState[],
  { signal, onBytes }: { signal: AbortSignal; onBytes: (count: number) => void },
): Promise<void> {
  // A piece of a file is as good a share as a file: of one large one several are read at once.
  const pieces = files.flatMap(({ path, size }) =>
    Array.from({ length: Math.ceil(size / PIECE) }, (_, index) => ({ path, start: index * PIECE, size })),
  );
  const buffers = Array.from({ length: AT_ONCE }, () => Buffer.allocUnsafe(READ));
  await mapSome(pieces, AT_ONCE, async ({ path, start, size }) => {
    const buffer = buffers.pop() ?? Buffer.allocUnsafe(READ);
    await using file = await open(path, "r");
    for (let at = start; at < Math.min(size, start + PIECE); ) {
      signal.throwIfAborted();
      const { bytesRead } = await file.read(buffer, 0, Math.min(READ, start + PIECE - at), at);
      if (bytesRead === 0) break;
      at += bytesRead;
      onBytes(bytesRead);
    }
    buffers.push(buffer);
  });
}

const PIECE = 256 << 20;
