import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { hasSystemCode } from "../errors.ts";

/** `mkdir -p`. Node's own says ENOENT for a read-only file system; made level by level the reason comes out. */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (error) {
    if (!hasSystemCode(error, "ENOENT") || folder === dirname(folder)) throw error;
    await makeFolder(dirname(folder));
    await mkdir(folder);
  }
}
