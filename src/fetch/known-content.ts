import { dirname, join } from "node:path";
import type { FileSpec } from "../model.ts";
import type { Layout } from "../store/layout.ts";
import { listManifests } from "../store/manifest.ts";
import { commitPartial, dropPartial, syncFolder } from "../store/partial-file.ts";
import { isJournaled } from "./transfer/job.ts";
import type { Lanes } from "./transfer/lanes.ts";

/**
 * Content that the volume has, or is about to have, under another model's name: two repositories or two sources with the
 * same file cost one fetch and one copy.
 */

/** Small files are not worth looking for, and of git's sha1 two contents can be made. */
export function isShareable({ digest, size }: Pick<FileSpec, "digest" | "size">): boolean {
  return digest.algorithm === "sha256" && isJournaled({ size });
}

/** Paths by digest of the content that records name, of the files that are looked for. */
export async function findContent(layout: Layout, files: readonly FileSpec[]): Promise<Map<string, string>> {
  const wanted = new Set(files.filter(isShareable).map(({ digest }) => digest.hex));
  const found = new Map<string, string>();
  if (wanted.size === 0) return found;
  for (const { path: folder, files: stored } of await listManifests(layout)) {
    for (const { path, digest } of stored) if (wanted.has(digest.hex)) found.set(digest.hex, join(folder, path));
  }
  return found;
}

export interface ShareRequest {
  file: FileSpec;
  /** The other model's file. */
  path: string;
  /** Folder of partials of this one, and its final name. */
  folder: string;
  target: string;
}

/** Links, or else copies, the other file to its new name once its digest is found right. False where that fails. */
export async function shareContent(
  { file, path, folder, target }: ShareRequest,
  { lanes, signal }: { lanes: Lanes; signal?: AbortSignal },
): Promise<boolean> {
  const { size, digest } = file;
  try {
    // Two models of one store may have one place for it.
    if (path === target) {
      const isRight =
        (await lanes.run({ kind: "digest", path, size, algorithm: digest.algorithm }, { signal })) === digest.hex;
      if (isRight) await dropPartial(folder, digest);
      return isRight;
    }
    await lanes.run({ kind: "copy", path, name: file.path, folder, size, digest }, { signal });
    await commitPartial(folder, digest, target);
    await syncFolder(dirname(target));
    return true;
  } catch {
    signal?.throwIfAborted();
    return false;
  }
}
