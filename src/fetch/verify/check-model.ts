import { realpath, stat } from "node:fs/promises";
import { join, sep } from "node:path";
import type { Digest, FileSpec, StoredModel } from "../../model.ts";
import { keptKey } from "../../store/kept-revisions.ts";
import type { Layout } from "../../store/layout.ts";
import { readManifest } from "../../store/manifest.ts";
import { readManifestDigest } from "../../store/ollama-store.ts";
import { mapSome } from "../map-some.ts";
import type { Lanes } from "../transfer/lanes.ts";

/** Files that are read at once, by as many threads. */
const AT_ONCE = 4;

export interface WrongFile {
  file: FileSpec;
  what: "missing" | "wrong size" | "wrong content" | "cannot be read" | "leads out of the volume";
  /** As it was when it was found wrong; null where there is none. */
  seen: FileState | null;
}

/** Enough to tell whether a file is still the one that was looked at. */
export interface FileState {
  path: string;
  ino: number;
  size: number;
  mtimeMs: number;
}

export interface CheckContext {
  layout: Layout;
  lanes: Lanes;
  signal?: AbortSignal;
  onBytes?: (count: number) => void;
  /** Digests of this run, by content on the disk: what has several names is read once. */
  known?: Map<string, Promise<string | null>>;
}

/** Reads the files anew and gives those that are not what the record says. Throws only the reason of the signal. */
export async function checkFiles(
  model: Pick<StoredModel, "path">,
  files: readonly FileSpec[],
  context: CheckContext,
): Promise<WrongFile[]> {
  const roots = await realRoots(context.layout);
  const found = await mapSome(files, AT_ONCE, (file) => checkFile(join(model.path, file.path), file, roots, context));
  return found.filter((wrong) => wrong !== null);
}

/**
 * True where all that is wrong is that Ollama's name for the model leads to another revision of it that is kept: whoever
 * was changing it is still at it, or was killed. The next fetch finishes that.
 */
export async function isChanging(
  { source, location, key, kept, revision }: StoredModel,
  wrong: readonly WrongFile[],
  layout: Layout,
): Promise<boolean> {
  if (source !== "ollama" || kept || !wrong.every(({ file }) => file.digest.hex === revision)) return false;
  const named = await readManifestDigest(layout.ollama, location);
  return named !== null && (await readManifest(layout, keptKey(key, named))) !== null;
}

/** The digest of a file of the volume, hex; null where it cannot be read. */
export async function digestAt(
  state: FileState,
  algorithm: Digest["algorithm"],
  { lanes, signal, onBytes, known }: CheckContext,
): Promise<string | null> {
  const { path, size, ino, mtimeMs } = state;
  const name = `${ino} ${size} ${mtimeMs} ${algorithm}`;
  const before = known?.get(name);
  if (before) {
    onBytes?.(size);
    return before;
  }
  const digest = lanes.run({ kind: "digest", path, size, algorithm, paced: true }, { signal, onBytes }).catch(() => {
    signal?.throwIfAborted();
    return null;
  });
  known?.set(name, digest);
  return digest;
}

/** Where a path really leads, if that is a file in one of the folders of models. */
export async function resolveInside(
  path: string,
  roots: readonly string[],
): Promise<FileState | "missing" | "leads out of the volume"> {
  try {
    const real = await realpath(path);
    if (!roots.some((root) => real.startsWith(root + sep))) return "leads out of the volume";
    const found = await stat(real);
    return found.isFile() ? { path: real, ino: found.ino, size: found.size, mtimeMs: found.mtimeMs } : "missing";
  } catch {
    return "missing";
  }
}

export async function realRoots({ modelFolders }: Layout): Promise<string[]> {
  const roots = await Promise.all(modelFolders.map((folder) => realpath(folder).catch(() => null)));
  return roots.filter((root) => root !== null);
}

async function checkFile(
  path: string,
  file: FileSpec,
  roots: readonly string[],
  context: CheckContext,
): Promise<WrongFile | null> {
  const { size, digest } = file;
  const seen = await resolveInside(path, roots);
  if (typeof seen === "string") {
    context.onBytes?.(size);
    return { file, what: seen, seen: null };
  }
  if (seen.size !== size) {
    context.onBytes?.(size);
    return { file, what: "wrong size", seen };
  }
  const found = await digestAt(seen, digest.algorithm, context);
  if (found === digest.hex) return null;
  return { file, what: found === null ? "cannot be read" : "wrong content", seen };
}
