import { readdir, rename, rm, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { hasSystemCode } from "../errors.ts";
import { makeFolder } from "./make-folder.ts";
import { syncFolder } from "./partial-file.ts";

/** Makes a folder go at once: it gets a name that nobody looks for, on the same file system, and is then emptied. */
export async function removeWhole(folder: string, hidden: string): Promise<void> {
  await makeFolder(dirname(hidden));
  try {
    await rename(folder, hidden);
  } catch (error) {
    if (!hasSystemCode(error, "ENOENT")) throw error;
    return;
  }
  await syncFolder(dirname(folder));
  await rm(hidden, { recursive: true, force: true });
}

/** Removes a folder and those below it as far as they are empty. True where it is gone. */
export async function removeEmpty(folder: string): Promise<boolean> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) if (entry.isDirectory()) await removeEmpty(join(folder, entry.name));
  return rmdir(folder).then(
    () => true,
    () => false,
  );
}

/** Removes the file, and the folders above it that are empty then, up to `root`, which stays. */
export async function removeUpTo(root: string, path: string): Promise<void> {
  await rm(path, { force: true });
  for (let folder = dirname(path); folder !== root && folder.startsWith(root); folder = dirname(folder)) {
    if (
      !(await rmdir(folder).then(
        () => true,
        () => false,
      ))
    )
      return;
  }
}
