import { MusterError } from "../../errors.ts";
import type { FileSpec, Variant } from "../../model.ts";
import { type BucketPlace, parseBucket } from "../../place.ts";
import { mapSome } from "../map-some.ts";
import type { DescribeOptions, Origin } from "../origin.ts";
import { bucketShelf, keyOf } from "../s3/bucket-shelf.ts";
import type { OpenBucket } from "../s3/open-bucket.ts";
import { describeFolder } from "./describe-folder.ts";
import { isSafePath } from "./safe-path.ts";

/** A model has fewer files; a prefix with more is a whole bucket that somebody named by mistake. */
const MOST_FILES = 5_000;
/** Questions about single objects at once. */
const AT_ONCE = 16;

/** Folders of object stores as the place that models with source "s3" come from. */
export function s3Origin(openBucket: OpenBucket): Origin {
  const shelfOf = (variant: Variant) => bucketShelf(bucketOf(variant), openBucket);
  return {
    name: "the object store",
    async describe(variant, options) {
      const list = () => listed(bucketOf(variant), openBucket, options);
      return describeFolder(variant, { shelf: shelfOf(variant), list }, options);
    },
    locate: (variant, _revision, { path }, options) => shelfOf(variant).locate(path, options),
  };
}

function bucketOf({ location }: Variant): BucketPlace {
  const place = parseBucket(location);
  if (place) return place;
  throw new MusterError("REPO_NOT_FOUND", `${location} names no bucket.`, {
    hint: "Correct `url` of the variant in the catalog: s3://bucket/folder/of/the/model.",
  });
}

/** A folder that nobody pushed, by what the store knows of its objects. */
async function listed(place: BucketPlace, openBucket: OpenBucket, options: DescribeOptions): Promise<FileSpec[]> {
  const bucket = await openBucket(place.bucket);
  const prefix = place.prefix ? `${place.prefix}/` : "";
  const name = `s3://${place.bucket}/${place.prefix}`;
  const objects = (await bucket.list(prefix, MOST_FILES, options))
    .map(({ key, size }) => ({ path: key.slice(prefix.length), size }))
    .filter(({ path }) => isSafePath(path) && !path.split("/").some((part) => part.startsWith(".")));
  if (objects.length === 0) {
    throw new MusterError("REPO_NOT_FOUND", `There is nothing below ${name}.`, {
      hint: "Correct `url` of the variant in the catalog; `muster push MODEL s3://BUCKET/PREFIX` fills it.",
    });
  }
  if (objects.length > MOST_FILES) {
    throw new MusterError(
      "REPO_NOT_FOUND",
      `${name} has more than ${MOST_FILES} objects, so it is no model's folder.`,
      {
        hint: "Correct `url` of the variant in the catalog: it names the folder of one model.",
      },
    );
  }
  const files = await mapSome(objects, AT_ONCE, async ({ path, size }) => {
    const sha256 = (await bucket.head(keyOf(place, path), options))?.sha256;
    return { path, size, sha256 };
  });
  return files.map(({ path, size, sha256 }) => {
    if (sha256) return { path, size, digest: { algorithm: "sha256", hex: sha256 } };
    throw new MusterError("DIGEST_MISSING", `${name} says no sha256 of ${path}, so it could not be checked.`, {
      hint: "Fill the folder with `muster push`, or upload with `aws s3 cp --checksum-algorithm SHA256` (objects of one part), or put `sha256` into each object's metadata.",
    });
  });
}
