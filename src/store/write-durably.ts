import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { makeFolder } from "./make-folder.ts";
import { syncFolder } from "./partial-file.ts";

/** Writes the file so that a reader sees either the old or the new content, whole, also after a power cut. */
export async function writeFileDurably(path: string, text: string): Promise<void> {
  await makeFolder(dirname(path));
  // A random name: two containers on one volume may both be process 1.
  const temporary = `${path}.${crypto.randomUUID()}.tmp`;
  try {
    {
      await using handle = await open(temporary, "wx", 0o644);
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
