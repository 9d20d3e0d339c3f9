import { type BucketPlace, showPlace } from "../../place.ts";
import type { Shelf } from "../shelf.ts";
import type { OpenBucket } from "./open-bucket.ts";

/** What stands below a prefix of a bucket. */
export function bucketShelf(place: BucketPlace, openBucket: OpenBucket): Shelf {
  return {
    name: showPlace(place),
    read: async (path, options) => (await openBucket(place.bucket)).read(keyOf(place, path), options),
    async locate(path) {
      const key = keyOf(place, path);
      const url = await (await openBucket(place.bucket)).sign(key);
      return {
        kind: "http",
        url,
        authorization: null,
        page: `s3://${place.bucket}/${key}`,
        settings: { endpoint: "S3_ENDPOINT", token: null },
        signed: true,
      };
    },
  };
}

export function keyOf({ prefix }: BucketPlace, path: string): string {
  return [prefix, path].filter(Boolean).join("/");
}
