import { rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Layout } from "./layout.ts";
import { makeFolder } from "./make-folder.ts";

/**
 * What time it is for the volume's own clock, in milliseconds as Date.now: of a network volume that is the server's, by
 * which the ages of its files are told whatever this host's clock says. This host's where nothing can be written.
 */
export async function volumeNow({ own }: Pick<Layout, "own">): Promise<number> {
  const probe = join(own, `clock.${crypto.randomUUID()}.tmp`);
  try {
    await makeFolder(own);
    await writeFile(probe, "now", { flag: "wx" });
    return (await stat(probe)).mtimeMs;
  } catch {
    return Date.now();
  } finally {
    await rm(probe, { force: true }).catch(() => undefined);
  }
}
