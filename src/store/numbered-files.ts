import { open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { hasSystemCode } from "../errors.ts";

/**
 * A folder of numbered files, of which the highest holds. Taking over is the exclusive creation of the next number: two
 * cannot both do it, and nobody removes another's file by mistake. Exclusive creation is atomic on NFS as well.
 */

/** 0 where there is none. Throws where there is no folder. */
export async function highestNumber(folder: string): Promise<number> {
  return Math.max(0, ...(await numbers(folder)));
}

/** Creates the file of that number, and clears those below away. False where another was first. Throws as the system does. */
export async function createNumbered(folder: string, number: number, text: string): Promise<boolean> {
  const path = numberedFile(folder, number);
  try {
    await using file = await open(path, "wx", 0o644);
    await file.write(text, 0);
  } catch (error) {
    if (hasSystemCode(error, "EEXIST")) return false;
    // Created and not written, on a full disk: others would wait for nobody.
    await rm(path, { force: true });
    throw error;
  }
  if ((await highestNumber(folder)) !== number) {
    // What made this number the next was seen long ago: others had it, and cleared it away, since.
    await rm(path, { force: true });
    return false;
  }
  const older = (await numbers(folder)).filter((other) => other < number);
  // One that stays does no harm: the highest number holds.
  await Promise.all(older.map((other) => rm(numberedFile(folder, other), { force: true }).catch(() => undefined)));
  return true;
}

export function numberedFile(folder: string, number: number): string {
  return join(folder, String(number).padStart(12, "0"));
}

async function numbers(folder: string): Promise<number[]> {
  return (await readdir(folder)).filter((name) => /^\d+$/.test(name)).map(Number);
}
