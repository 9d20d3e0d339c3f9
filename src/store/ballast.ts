import { randomBytes } from "node:crypto";
import { rm, writeFile } from "node:fs/promises";
import { hasSystemCode } from "../errors.ts";
import { hasSize } from "./has-size.ts";
import type { Layout } from "./layout.ts";
import { makeFolder } from "./make-folder.ts";

/**
 * Removing takes a lease and a folder or two, for which a full disk has no block left. A file that is good for nothing stands
 * there to be given up for that. After a kill in between its space is free, which does as well.
 */

/** Bytes: some blocks of every usual size. */
const SIZE = 32 << 10;

/** Has it there for the next time. Where there is no room for it, or nothing may be written, it is done without. */
export async function keepBallast({ ballast, own }: Pick<Layout, "ballast" | "own">): Promise<void> {
  if (await hasSize(ballast, SIZE)) return;
  try {
    await makeFolder(own);
    // Random, because file systems pack and share what is alike.
    await writeFile(ballast, randomBytes(SIZE));
  } catch {
    await rm(ballast, { force: true }).catch(() => undefined);
  }
}

/** Does what frees space; on a full disk once more, with what the ballast has taken. Who has done it keeps it again. */
export async function withBallast<Result>(
  { ballast }: Pick<Layout, "ballast">,
  work: () => Promise<Result>,
): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (!hasSystemCode(error, "ENOSPC", "EDQUOT")) throw error;
    await rm(ballast, { force: true });
    return work();
  }
}
