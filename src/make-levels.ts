import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { hasSystemCode } from "./errors.ts";

/** For folders above it that are removed in the meantime. */
const ATTEMPTS = 5;

/**
 * `mkdir -p`, level by level. Node's own says ENOENT for a read-only file system, and never ends on one that says it of a
 * folder whose parent is there, as /proc does.
 */
export async function makeLevels(folder: string, mode?: number): Promise<void> {
  const parent = dirname(folder);
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await makeOne(folder, mode);
    } catch (error) {
      if (!hasSystemCode(error, "ENOENT") || parent === folder || attempt === ATTEMPTS) throw error;
    }
    await makeLevels(parent, mode);
  }
}

async function makeOne(folder: string, mode: number | undefined): Promise<void> {
  try {
    await mkdir(folder, mode);
  } catch (error) {
    // Whatever the file system says of one that is there.
    if (!(await stat(folder).catch(() => null))?.isDirectory()) throw error;
  }
}
