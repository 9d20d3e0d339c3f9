import { MusterError } from "../../errors.ts";
import type { FileSpec, Variant } from "../../model.ts";
import type { AskOptions } from "../ask.ts";
import type { Origin } from "../origin.ts";
import { filesFor, type PublishedModel, publishedFolder } from "../published-model.ts";
import { readPublished, type Shelf } from "../shelf.ts";
import { readAbout } from "./read-about.ts";

/** For so long a manifest that was read is gone by while files are fetched. */
const FRESH_MS = 60_000;

/** A shelf that `muster push` has filled, as a place that models of a hub come from. */
export function mirrorOrigin(shelf: Shelf): Origin {
  const manifests = new Map<string, { readAt: number; published: Promise<PublishedModel> }>();
  const read = async (variant: Variant, options: AskOptions): Promise<PublishedModel> => {
    const folder = publishedFolder(variant);
    const published = await readPublished(shelf, folder, options);
    if (published) return published;
    throw new MusterError("REPO_NOT_FOUND", `${shelf.name} does not hold ${variant.location}.`, {
      hint: `Where it is complete, run \`muster push ${variant.location} ${shelf.name}\`.`,
    });
  };
  const remembered = (variant: Variant, options: AskOptions) => {
    const known = manifests.get(variant.location);
    if (known && performance.now() - known.readAt < FRESH_MS) return known.published;
    const published = read(variant, options);
    manifests.set(variant.location, { readAt: performance.now(), published });
    // A failure is told to who asked, and not kept.
    published.catch(() => manifests.delete(variant.location));
    return published;
  };
  return {
    name: shelf.name,
    async describe(variant, options) {
      manifests.delete(variant.location);
      const published = await remembered(variant, options);
      const folder = publishedFolder(variant);
      const files = filesFor(published, variant, `${shelf.name}/${folder}`);
      const { readStored } = options;
      const { revision, license } = published;
      const read = (path: string) => shelf.read(`${folder}/${path}`, options);
      return { revision, files, ...(await readAbout(files, { readStored, license, read })), manifest: null };
    },
    async locate(variant, _revision, file, options) {
      const { files } = await remembered(variant, options);
      if (!files.some((held) => isSame(held, file))) {
        throw new MusterError(
          "FILE_NOT_FOUND",
          `${shelf.name} holds another ${variant.location}: ${file.path} differs.`,
          {
            hint: `Publish this revision there with \`muster push ${variant.location} ${shelf.name}\`.`,
          },
        );
      }
      return shelf.locate(`${publishedFolder(variant)}/${file.path}`, options);
    },
  };
}

function isSame(held: FileSpec, wanted: FileSpec): boolean {
  return held.path === wanted.path && held.size === wanted.size && held.digest.hex === wanted.digest.hex;
}
