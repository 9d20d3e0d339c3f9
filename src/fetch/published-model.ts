import * as z from "zod";
import { MusterError } from "../errors.ts";
import { type FileSpec, SOURCES, type Source, type Variant } from "../model.ts";
import { manifestKey } from "../store/manifest.ts";
import { isSafePath } from "./sources/safe-path.ts";

/**
 * A model laid out for others, by `muster push`: plain files in a folder of a bucket or a disk, and this manifest beside
 * them, written last. Who finds it finds the whole model.
 */

export const PUBLISHED_NAME = "muster-model.json";

const hex = z
  .string()
  .regex(/^[0-9a-f]+$/i)
  .toLowerCase();
const path = z.string().refine(isSafePath, "a relative path that stays in its folder");

const publishedSchema = z.object({
  formatVersion: z.literal(1),
  source: z.enum(SOURCES),
  location: z.string().min(1),
  requestedRevision: z.string().min(1),
  revision: z.string().regex(/^\w[\w.:-]*$/),
  /** Keys of the records whose files are here: which choices of the source's files. Null: all files are here. */
  keys: z.array(z.string()).nullable().default(null),
  license: z.string().nullable().default(null),
  files: z
    .array(
      z.object({
        path,
        size: z.int().nonnegative(),
        /** As the source names the content: git's digest for small files of a hub. */
        digest: z.object({ algorithm: z.enum(["sha256", "git-sha1"]), hex }),
        sha256: hex.length(64),
      }),
    )
    .min(1),
});

export type PublishedModel = z.output<typeof publishedSchema>;
export type PublishedFile = PublishedModel["files"][number];

/** Where a model stands below a bucket's prefix or a folder: the layout that loaders and clusters share. */
export function publishedFolder({ source, location }: { source: Source; location: string }): string {
  const name = source === "huggingface" ? location : (location.split("/").filter(Boolean).at(-1) ?? location);
  return `base-models/${name.replaceAll("/", "-")}`;
}

/** Throws RESPONSE_INVALID where the text is no such manifest; `where` is told. */
export function parsePublished(text: string, where: string): PublishedModel {
  try {
    return publishedSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new MusterError("RESPONSE_INVALID", `${where} is not a manifest that this version can read.`, {
      hint: "Publish the model anew with `muster push`, with the same version of muster.",
      cause,
    });
  }
}

export function showPublished(model: PublishedModel): string {
  return `${JSON.stringify(model, null, 2)}\n`;
}

/** The files under the digests that their source goes by, if they are what the variant asks for. Throws MusterError. */
export function filesFor(published: PublishedModel, variant: Variant, where: string): FileSpec[] {
  const { location, revision } = variant;
  const { requestedRevision } = published;
  if (published.source !== variant.source || published.location !== location) {
    throw new MusterError("REPO_NOT_FOUND", `${where} holds ${published.location}, not ${location}.`, {
      hint: "Two names that differ in - and / only cannot share a mirror; take another mirror for one of them.",
    });
  }
  if (revision !== published.revision && revision !== requestedRevision) {
    const held = `${requestedRevision} (${published.revision.slice(0, 12)})`;
    throw new MusterError("REVISION_NOT_FOUND", `${where} holds ${held} of ${location}, not ${revision}.`, {
      hint: `Publish that revision with \`muster push ${location}\`, or take another mirror for it.`,
    });
  }
  const keys = [revision, requestedRevision].map((name) => manifestKey({ ...variant, revision: name }));
  if (published.keys && !published.keys.some((key) => keys.includes(key))) {
    throw new MusterError("FILE_NOT_FOUND", `${where} holds other files of ${location} than ${variant.id} asks for.`, {
      hint: `Where this variant is complete, \`muster push ${location}\` adds its files.`,
    });
  }
  return published.files.map(({ path, size, digest }) => ({ path, size, digest }));
}
