import type { Dirent } from "node:fs";
import { readdir, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, sep } from "node:path";
import { hasSystemCode, MusterError } from "../../errors.ts";
import type { FileSpec } from "../../model.ts";

export type ListedFile = Pick<FileSpec, "path" | "size">;

/**
 * The regular files below a folder. Hidden ones are left out (they are the business of git and of download tools). Links
 * are followed where they stay inside; what leads outside is refused, because a catalog must not give away other files.
 */
export async function listFolder(folder: string, signal?: AbortSignal): Promise<ListedFile[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((error: unknown) => {
    throw folderError(error, folder);
  });
  const inside = await reach(folder);
  const files: ListedFile[] = [];
  for (const entry of entries) {
    signal?.throwIfAborted();
    const full = join(entry.parentPath, entry.name);
    const path = full.slice(folder.length + 1);
    if (path.split(sep).some((part) => part.startsWith("."))) continue;
    if (entry.isSymbolicLink()) await followInside(entry, full, inside);
    const found = await stat(full).catch(() => null);
    if (found?.isFile()) files.push({ path: path.split(sep).join("/"), size: found.size });
  }
  return files.toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

/** Where a file of the folder really is. Throws FILE_NOT_FOUND where that is outside or nowhere. */
export async function insideFolder(folder: string, path: string): Promise<string> {
  const place = join(folder, path);
  const real = await realpath(place).catch(() => null);
  if (real === null) {
    throw new MusterError("FILE_NOT_FOUND", `${place} is not there.`, {
      hint: "Mount the folder that holds it, or correct the path in the catalog.",
    });
  }
  if (!real.startsWith((await reach(folder)) + sep)) throw leadsOutside(place);
  return real;
}

/** The links of a hub cache's snapshot lead to the blobs beside it. */
async function reach(folder: string): Promise<string> {
  const real = await realpath(folder);
  return basename(dirname(real)) === "snapshots" ? dirname(dirname(real)) : real;
}

async function followInside(entry: Dirent, full: string, inside: string): Promise<void> {
  const target = await realpath(full).catch(() => null);
  if (target === null || !`${target}${sep}`.startsWith(inside + sep)) throw leadsOutside(full);
  // Not listed by a walk that does not follow links, and seldom meant.
  if ((await stat(target)).isDirectory()) throw leadsOutside(full, `${entry.name} is a link to a folder`);
}

function leadsOutside(place: string, why = "it is a link that leads outside or nowhere"): MusterError {
  return new MusterError("FILE_NOT_FOUND", `${place} is not taken: ${why}.`, {
    hint: "Put the file itself there: `cp -RL` copies a folder with what its links lead to.",
  });
}

export function folderError(error: unknown, folder: string): unknown {
  if (hasSystemCode(error, "ENOENT", "ENOTDIR")) {
    return new MusterError("REPO_NOT_FOUND", `There is no folder ${folder}.`, {
      hint: "Mount the volume that holds it, or correct the path in the catalog.",
      cause: error,
    });
  }
  return hasSystemCode(error, "EACCES", "EPERM") ? unreadable(folder, error) : error;
}

export function unreadable(place: string, cause?: unknown): MusterError {
  return new MusterError("ACCESS_REFUSED", `${place} may not be read by this user.`, {
    hint: `Give user ${process.getuid?.() ?? "of this process"} the right to read it: \`chmod -R a+rX ${place}\`.`,
    cause,
  });
}
