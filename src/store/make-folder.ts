import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { hasSystemCode, MusterError } from "../errors.ts";

/** For folders above it that are removed in the meantime. */
const ATTEMPTS = 5;

/**
 * `mkdir -p`, level by level. Node's own says ENOENT for a read-only file system, and never ends on one that says it of a
 * folder whose parent is there, as /proc does.
 */
export async function makeFolder(folder: string): Promise<void> {
  const parent = dirname(folder);
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await makeOne(folder);
    } catch (error) {
      if (!hasSystemCode(error, "ENOENT") || parent === folder) throw error;
      if (attempt === ATTEMPTS) throw takesNone(parent, error);
    }
    await makeFolder(parent);
  }
}

async function makeOne(folder: string): Promise<void> {
  try {
    await mkdir(folder);
  } catch (error) {
    // Whatever the file system says of one that is there.
    if (!(await stat(folder).catch(() => null))?.isDirectory()) throw error;
  }
}

function takesNone(folder: string, cause: unknown): MusterError {
  return new MusterError("VOLUME_NOT_WRITABLE", `No folder can be made in ${folder}: its file system takes none.`, {
    hint: "Set MODEL_CACHE_DIR, or the variable that leads there, to a folder on a disk; `muster doctor` tries it.",
    cause,
  });
}
