import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { hasSystemCode, MusterError } from "../../errors.ts";
import type { FileSpec, Variant } from "../../model.ts";
import { parseFolder } from "../../place.ts";
import { mapSome } from "../map-some.ts";
import type { Origin } from "../origin.ts";
import { PUBLISHED_NAME } from "../published-model.ts";
import type { Shelf } from "../shelf.ts";
import type { Lanes } from "../transfer/lanes.ts";
import { isChecksumFile, readChecksums } from "./checksum-file.ts";
import { describeFolder } from "./describe-folder.ts";
import { folderError, insideFolder, type ListedFile, listFolder, unreadable } from "./folder-listing.ts";
import { readAbout } from "./read-about.ts";

/** Files on their way through the threads. */
const AT_ONCE = 8;

/** A folder as a shelf of models. */
export function folderShelf(folder: string): Shelf {
  return {
    name: folder,
    async read(path) {
      try {
        return await readFile(join(folder, path), "utf8");
      } catch (error) {
        if (hasSystemCode(error, "ENOENT", "ENOTDIR")) return null;
        throw folderError(error, join(folder, path));
      }
    },
    locate: async (path) => ({ kind: "path", path: await insideFolder(folder, path) }),
  };
}

/** Folders of this machine (NFS, another volume) as the place that models with source "path" come from; threads digest them. */
export function pathOrigin(lanes: Lanes): Origin {
  return {
    name: "the folder",
    async describe(variant, options) {
      const { signal } = options;
      const folder = folderOf(variant);
      const list = async () => digested(folder, await modelFiles(folder, signal), { lanes, signal });
      return describeFolder(variant, { shelf: folderShelf(folder), list }, options);
    },
    async survey(variant, options) {
      const folder = folderOf(variant);
      const files = await modelFiles(folder, options.signal);
      return { files, ...(await readAbout(files, { read: (path) => folderShelf(folder).read(path, options) })) };
    },
    locate: (variant, _revision, { path }, options) => folderShelf(folderOf(variant)).locate(path, options),
  };
}

function folderOf({ location }: Variant): string {
  const folder = parseFolder(location)?.path;
  if (folder) return folder;
  throw new MusterError("REPO_NOT_FOUND", `${location} is no absolute path and no file:// URL of this machine.`, {
    hint: "Correct `path` of the variant in the catalog: /folder or file:///folder.",
  });
}

async function modelFiles(folder: string, signal?: AbortSignal): Promise<ListedFile[]> {
  const all = await listFolder(folder, signal);
  return all.filter(({ path }) => path !== PUBLISHED_NAME && !isChecksumFile(path));
}

/** By the checksums that lie beside the files; what they do not name is read and hashed. */
async function digested(
  folder: string,
  files: readonly ListedFile[],
  { lanes, signal }: { lanes: Lanes; signal?: AbortSignal },
): Promise<FileSpec[]> {
  const known = await readChecksums(folder);
  const algorithm = "sha256";
  return mapSome(files, AT_ONCE, async ({ path, size }) => {
    const place = join(folder, path);
    const hex = known.get(path) ?? (await lanes.run({ kind: "digest", path: place, size, algorithm }, { signal }));
    if (hex === null) throw unreadable(place);
    return { path, size, digest: { algorithm, hex } };
  });
}
