import { createHash } from "node:crypto";
import { type BucketPlace, showPlace } from "../../place.ts";
import type { AskOptions } from "../ask.ts";
import { PUBLISHED_NAME } from "../published-model.ts";
import type { Bucket } from "../s3/bucket.ts";
import { keyOf } from "../s3/bucket-shelf.ts";
import { ByteBudget } from "./byte-budget.ts";
import { upload } from "./multipart-upload.ts";
import type { PushTarget } from "./push-target.ts";
import type { UploadNotes } from "./upload-notes.ts";

const MIB = 1 << 20;
/** Bytes of parts that are held in memory, of all files together. */
const HELD = 64 * MIB;
/** The stores take so many parts of a file. */
const MOST_PARTS = 10_000;

/** Parts are small, so that many are on their way at once, until that would be too many. */
export function partSize(size: number): number {
  return Math.max(8 * MIB, Math.ceil(size / MOST_PARTS / MIB) * MIB);
}

interface BucketTools {
  bucket: Bucket;
  notes: UploadNotes;
  ask: Pick<AskOptions, "retries" | "onRetry">;
}

/** A model's folder in a bucket. `place` is that folder. */
export function bucketTarget(place: BucketPlace, { bucket, notes, ask }: BucketTools): PushTarget {
  const budget = new ByteBudget(HELD);
  const options = (signal: AbortSignal) => ({ ...ask, signal });
  return {
    name: showPlace(place),
    readManifest: (signal) => bucket.read(keyOf(place, PUBLISHED_NAME), options(signal)),
    async has({ path, size, sha256 }, signal) {
      const found = await bucket.head(keyOf(place, path), options(signal));
      return found?.size === size && found.sha256 === sha256;
    },
    prepare: async () => undefined,
    async put(file, content, { signal, onBytes }) {
      const { path, size, sha256 } = file;
      const key = keyOf(place, path);
      const length = partSize(size);
      if (size <= length) {
        const release = await budget.take(size);
        try {
          const body = await content.read(size);
          content.finish();
          await bucket.put(key, body, sha256, options(signal));
          return onBytes(size);
        } finally {
          release();
        }
      }
      await upload({ ...options(signal), bucket, key, file, length, content, budget, notes, onBytes });
    },
    remove: (path, signal) => bucket.remove(keyOf(place, path), options(signal)),
    async writeManifest(text, signal) {
      const body = Buffer.from(text);
      await bucket.put(
        keyOf(place, PUBLISHED_NAME),
        body,
        createHash("sha256").update(body).digest("hex"),
        options(signal),
      );
    },
  };
}
