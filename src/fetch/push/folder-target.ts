import { mkdir, open, readdir, readFile, rename, rm, rmdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { hasSystemCode, MusterError } from "../../errors.ts";
import { hasSize } from "../../store/has-size.ts";
import { makeFolder } from "../../store/make-folder.ts";
import { syncFolder } from "../../store/partial-file.ts";
import { volumeError } from "../../store/volume-error.ts";
import { writeFileDurably } from "../../store/write-durably.ts";
import type { DiskBudget } from "../disk-budget.ts";
import { sha256OfFile } from "../hash-file.ts";
import { PUBLISHED_NAME } from "../published-model.ts";
import type { PushTarget } from "./push-target.ts";

const PIECE = 1 << 20;
/** An unfinished file that is older was left by a push that was killed. */
const STALE_MS = 3_600_000;

/** A model's folder on a disk: an air gap is crossed with it. `folder` is that folder. */
export function folderTarget(folder: string, disk: DiskBudget): PushTarget {
  const unfinished = join(folder, ".muster-push");
  const owned = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      throw targetError(error, folder);
    }
  };
  return {
    name: folder,
    readManifest: () =>
      owned(() =>
        readFile(join(folder, PUBLISHED_NAME), "utf8").catch((error: unknown) => {
          if (hasSystemCode(error, "ENOENT", "ENOTDIR")) return null;
          throw error;
        }),
      ),
    async has({ path, size, sha256 }, signal) {
      const place = join(folder, path);
      return (await hasSize(place, size)) && (await sha256OfFile(place, signal)) === sha256;
    },
    prepare: (bytes) =>
      owned(async () => {
        (await disk.reserve(folder, bytes, "The model")).release();
        await makeFolder(unfinished);
        await removeStale(unfinished);
      }),
    put: ({ path, size }, content, { signal, onBytes }) =>
      owned(async () => {
        const temporary = join(unfinished, crypto.randomUUID());
        try {
          {
            await using handle = await open(temporary, "wx", 0o644);
            for (let position = 0; position < size; position += PIECE) {
              signal.throwIfAborted();
              const piece = await content.read(PIECE);
              await handle.writeFile(piece);
              onBytes(piece.length);
            }
            content.finish();
            await handle.sync();
          }
          await mkdir(dirname(join(folder, path)), { recursive: true });
          await rename(temporary, join(folder, path));
          await syncFolder(dirname(join(folder, path)));
        } finally {
          await rm(temporary, { force: true });
        }
      }),
    remove: (path) => owned(() => rm(join(folder, path), { force: true })),
    writeManifest: (text) =>
      owned(async () => {
        await writeFileDurably(join(folder, PUBLISHED_NAME), text);
        // Or else somebody else is pushing.
        await rmdir(unfinished).catch(() => undefined);
      }),
  };
}

async function removeStale(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const found = await stat(join(folder, name)).catch(() => null);
    if (found && Date.now() - found.mtimeMs > STALE_MS) await rm(join(folder, name), { force: true });
  }
}

/** The words of the volume's errors, for a folder that models are taken to. */
function targetError(error: unknown, folder: string): unknown {
  const failure = volumeError(error, folder);
  if (!(failure instanceof MusterError) || failure.code !== "DISK_FULL") return failure;
  const hint = "Free space there, then run the same `muster push` again: it sends only what is missing.";
  return new MusterError("DISK_FULL", failure.message, { hint, cause: failure, details: failure.details });
}
