import { open, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { syncFolder } from "./partial-file.ts";

/** From here on one flush of the file system is cheaper than one of each file. */
const MANY = 32;

/**
 * Makes files that were written and renamed last, and their names, survive a power cut. One that the disk does not take
 * is removed and the failure thrown; those after it are left unsynced.
 */
export async function syncFiles(unsynced: readonly string[], renamed: readonly string[]): Promise<void> {
  const paths = [...new Set(unsynced)];
  const [first] = paths;
  if (first === undefined || paths.length < MANY || !(await syncFileSystem(first))) {
    for (const path of paths) await syncFile(path);
  }
  await Promise.all([...new Set(renamed.map((path) => dirname(path)))].map(syncFolder));
}

/** False where the system has no such command. */
async function syncFileSystem(path: string): Promise<boolean> {
  // Without `cleanup`, for which execa listens to signals: where it has listened to SIGXFSZ a limit on file sizes kills.
  const options = { reject: false, cleanup: false, stdio: "ignore" } as const;
  // Loaded where it is needed: a start with everything there does without.
  const { execa } = await import("execa");
  const { failed } = await execa("sync", ["--file-system", path], options);
  return !failed;
}

async function syncFile(path: string): Promise<void> {
  await using file = await open(path, "r");
  try {
    await file.sync();
  } catch (error) {
    // The system tells the failure once, and the lost bytes may still be read from memory: it must not be believed again.
    await rm(path, { force: true });
    throw error;
  }
}
