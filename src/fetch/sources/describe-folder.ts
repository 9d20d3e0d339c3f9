import type { FileSpec, Variant } from "../../model.ts";
import { contentRevision } from "../hash-file.ts";
import type { DescribeOptions, ModelDescription } from "../origin.ts";
import { readPublished, type Shelf } from "../shelf.ts";
import { checkPin } from "./pin.ts";
import { readAbout } from "./read-about.ts";

/**
 * A model that is a folder of its own: what its manifest says where `muster push` has filled it, and else what `list` finds
 * there, under a revision made of the content. Throws MusterError.
 */
export async function describeFolder(
  variant: Variant,
  { shelf, list }: { shelf: Shelf; list: () => Promise<FileSpec[]> },
  options: DescribeOptions,
): Promise<ModelDescription> {
  const published = await readPublished(shelf, "", options);
  const files =
    published?.files.map(
      ({ path, size, sha256 }): FileSpec => ({ path, size, digest: { algorithm: "sha256", hex: sha256 } }),
    ) ?? (await list());
  const revision = published?.revision ?? contentRevision(files);
  checkPin(variant, { revision, name: published?.requestedRevision });
  const { readStored } = options;
  const license = published?.license;
  const about = await readAbout(files, { readStored, license, read: (path) => shelf.read(path, options) });
  return { revision, files, ...about, manifest: null };
}
