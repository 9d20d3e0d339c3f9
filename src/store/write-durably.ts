import { type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { makeFolder } from "./make-folder.ts";
import { syncFolder } from "./partial-file.ts";

/** Writes the file so that a reader sees either the old or the new content, whole, also after a power cut. */
export async function writeFileDurably(path: string, text: string): Promise<void> {
  await makeFolder(dirname(path));
  await writeWhole(path, text, async () => undefined);
}

/** The same with a file that is there and is somebody's: its mode stays, and its owner, where that may be given away. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const { mode, uid, gid } = await stat(path);
  await writeWhole(path, text, async (handle) => {
    await handle.chown(uid, gid).catch(() => undefined);
    await handle.chmod(mode & 0o7777);
  });
}

async function writeWhole(path: string, text: string, prepare: (handle: FileHandle) => Promise<void>): Promise<void> {
  // A random name: two containers on one volume may both be process 1.
  const temporary = `${path}.${crypto.randomUUID()}.tmp`;
  try {
    {
      await using handle = await open(temporary, "wx", 0o644);
      await prepare(handle);
      await handle.writeFile(text);
      await handle.sync();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}
