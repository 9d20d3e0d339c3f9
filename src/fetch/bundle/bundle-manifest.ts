import { createHash } from "node:crypto";
import * as z from "zod";
import { MusterError } from "../../errors.ts";
import { type Digest, type FileSpec, SOURCES, type StoredModel } from "../../model.ts";
import { filesToFetch } from "../../store/manifest.ts";
import { VERSION } from "../../system.ts";
import { isSafePath } from "../sources/safe-path.ts";
import { whyNotPlaceable } from "./placeable.ts";

/**
 * A bundle: models as one tar file, or as the folder that `tar -x` makes of it. This manifest comes first and names every
 * byte; what follows is the content of the models' files, each once, called by its digest. So no name in a bundle ever
 * becomes a path of the volume.
 */

export const MANIFEST_NAME = "muster-bundle.json";
/** Bytes; a larger one is none. */
export const MANIFEST_MOST = 64 << 20;

const digest = z
  .object({ algorithm: z.enum(["sha256", "git-sha1"]), hex: z.string() })
  .refine(
    ({ algorithm, hex }) => /^[0-9a-f]+$/.test(hex) && hex.length === (algorithm === "sha256" ? 64 : 40),
    "a digest",
  );

const modelSchema = z.object({
  key: z.string(),
  source: z.enum(SOURCES),
  location: z.string().min(1),
  requestedRevision: z.string().min(1),
  revision: z.string().min(1),
  license: z.string().nullable(),
  quantization: z.string().nullable(),
  storedAt: z.string(),
  /** The source's own text, where it belongs to the model; it is not among the files. */
  manifest: z.string().nullable(),
  files: z.array(
    z.object({
      path: z.string().refine(isSafePath, "a relative path that stays in its folder"),
      size: z.int().nonnegative(),
      digest,
    }),
  ),
});

const bundleSchema = z.object({
  formatVersion: z.literal(1),
  /** Who wrote it; for people only. */
  muster: z.string(),
  /** Over the JSON of the models without spaces: a bit that flips in a name or a licence is not seen otherwise. */
  sha256: z.string(),
  models: z.array(modelSchema).min(1),
});

export type BundleManifest = z.output<typeof bundleSchema>;
export type BundledModel = BundleManifest["models"][number];

/** One content of a bundle, whichever files of whichever models have it. */
export interface Content {
  /** Of its entry. */
  name: string;
  size: number;
  digest: Digest;
}

/** What a bundle says of a model of the volume. An earlier revision that is kept goes by the model's own name. */
export function bundled(model: StoredModel): BundledModel {
  const { source, location, requestedRevision, revision, license, quantization, storedAt, manifest } = model;
  const key = model.kept?.of ?? model.key;
  const files = filesToFetch(model);
  return { key, source, location, requestedRevision, revision, license, quantization, storedAt, manifest, files };
}

/** The same models always give the same text: an export that is run again goes on with what it has written. */
export function showBundle(models: readonly BundledModel[]): string {
  const sha256 = digestOf(models);
  return `${JSON.stringify({ formatVersion: 1, muster: VERSION, sha256, models }, null, 1)}\n`;
}

/** Names the bundle: the manifest holds every digest, so that this one stands for all of it. Hex. */
export function bundleId(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** Throws BUNDLE_INVALID where the text is no manifest, or names what cannot be placed on a volume safely. */
export function parseBundle(text: string, where: string): BundleManifest {
  const manifest = parse(text, where);
  const keys = new Set(manifest.models.map(({ key }) => key));
  if (keys.size < manifest.models.length) throw refused(where, "it has a model twice");
  for (const model of manifest.models) {
    const problem = whyNotPlaceable(model);
    if (problem !== null) throw refused(where, `of ${JSON.stringify(model.location)} ${problem}`);
  }
  const sizes = new Map<string, number>();
  for (const { digest, size } of manifest.models.flatMap(({ files }) => files)) {
    if ((sizes.get(digest.hex) ?? size) !== size) throw refused(where, `${digest.hex} has two sizes`);
    sizes.set(digest.hex, size);
  }
  return manifest;
}

/** In the order in which they stand in the bundle: model by model, each where it is needed first. */
export function contentsOf(models: readonly Pick<BundledModel, "files">[]): Content[] {
  const found = new Map<string, Content>();
  for (const { size, digest } of models.flatMap(({ files }) => files)) {
    const name = contentName({ digest });
    if (!found.has(name)) found.set(name, { name, size, digest });
  }
  return [...found.values()];
}

export function contentName({ digest: { algorithm, hex } }: Pick<FileSpec, "digest">): string {
  return `blobs/${algorithm}-${hex}`;
}

export function refused(where: string, problem: string, cause?: unknown): MusterError {
  return new MusterError("BUNDLE_INVALID", `${where} is not taken: ${problem}.`, {
    hint: "Nothing of it was placed. Make it anew with `muster export`, of this version or an older one, and take it from nobody else.",
    cause,
  });
}

function parse(text: string, where: string): BundleManifest {
  let version: unknown;
  try {
    const data = JSON.parse(text) as { formatVersion?: unknown; models?: unknown };
    version = data.formatVersion;
    const manifest = bundleSchema.parse(data);
    if (digestOf(data.models) !== manifest.sha256) throw new Error("its sha256 is another");
    return manifest;
  } catch (cause) {
    if (typeof version === "number" && version > 1)
      throw refused(where, `its format ${version} is a newer one than this muster (${VERSION}) knows`, cause);
    throw refused(where, `its ${MANIFEST_NAME} cannot be understood`, cause);
  }
}

function digestOf(models: unknown): string {
  return createHash("sha256").update(JSON.stringify(models)).digest("hex");
}
