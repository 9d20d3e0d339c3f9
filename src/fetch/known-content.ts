import { dirname, join } from "node:path";
import type { Digest, FileSpec } from "../model.ts";
import type { Layout } from "../store/layout.ts";
import { listManifests } from "../store/manifest.ts";
import { commitPartial, syncFolder } from "../store/partial-file.ts";
import type { Lanes } from "./transfer/lanes.ts";

/** Smaller files are not worth looking for. */
const LEAST_BYTES = 1 << 20;

/**
 * Content that the volume has, or is about to have, under another model's name: two repositories or two sources with the
 * same file cost one fetch and one copy.
 */
export class KnownContent {
  readonly #arriving = new Map<string, Promise<string>>();

  /** Where a file with this content will stand, while another model is fetching it; undefined else. */
  arriving(digest: Digest): Promise<string> | undefined {
    return this.#arriving.get(digest.hex);
  }

  /** Tells of content that is being fetched. */
  announce({ digest, size }: FileSpec, target: string, fetched: Promise<unknown>): void {
    if (!isShareable({ digest, size })) return;
    const arriving = fetched.then(() => target);
    // Whoever waits for it meets the failure, and fetches it then.
    arriving.catch(() => undefined);
    this.#arriving.set(digest.hex, arriving);
    const forget = () => void this.#arriving.delete(digest.hex);
    fetched.then(forget, forget);
  }
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
  request: ShareRequest,
  { lanes, signal }: { lanes: Lanes; signal?: AbortSignal },
): Promise<boolean> {
  const { file, path, folder, target } = request;
  const { size, digest } = file;
  try {
    await lanes.run({ kind: "copy", path, name: file.path, folder, size, digest }, { signal });
    await commitPartial(folder, digest, target, { journaled: false });
    await syncFolder(dirname(target));
    return true;
  } catch {
    signal?.throwIfAborted();
    return false;
  }
}

function isShareable({ digest, size }: Pick<FileSpec, "digest" | "size">): boolean {
  return digest.algorithm === "sha256" && size >= LEAST_BYTES;
}
