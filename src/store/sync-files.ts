import { open } from "node:fs/promises";
import { dirname } from "node:path";
import { execa } from "execa";
import { syncFolder } from "./partial-file.ts";

/** From here on one flush of the file system is cheaper than one of each file. */
const MANY = 32;

/** Makes files that were written and renamed last, and their names, survive a power cut. */
export async function syncFiles(unsynced: readonly string[], renamed: readonly string[]): Promise<void> {
  const [first] = unsynced;
  if (first === undefined || unsynced.length < MANY || !(await syncFileSystem(first))) {
    for (const path of unsynced) await syncFile(path);
  }
  await Promise.all([...new Set(renamed.map((path) => dirname(path)))].map(syncFolder));
}

/** False where the system has no such command. */
async function syncFileSystem(path: string): Promise<boolean> {
  const { failed } = await execa("sync", ["--file-system", path], { reject: false, stdio: "ignore" });
  return !failed;
}

async function syncFile(path: string): Promise<void> {
  await using file = await open(path, "r");
  await file.sync();
}
