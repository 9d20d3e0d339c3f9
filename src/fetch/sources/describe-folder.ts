import type { FileSpec, Variant } from "../../model.ts";
import { contentRevision } from "../hash-file.ts";
import type { DescribeOptions, ModelDescription } from "../origin.ts";
import { readArchitecture } from "../read-architecture.ts";
import { readPublished, type Shelf } from "../shelf.ts";
import { checkPin } from "./pin.ts";
import { readConfig } from "./read-config.ts";

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
  const text = await readConfig(files, options, () => shelf.read("config.json", options));
  return { revision, files, architecture: text === null ? null : readArchitecture(text), manifest: null };
}
