import { readdir } from "node:fs/promises";
import { join } from "node:path";

/** Paths of all below a folder that is no folder itself, links among them; none where the folder is not there. */
export async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => !entry.isDirectory()).map(({ parentPath, name }) => join(parentPath, name));
}
