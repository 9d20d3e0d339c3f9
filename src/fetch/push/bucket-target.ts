import { createHash } from "node:crypto";
import { type BucketPlace, showPlace } from "../../place.ts";
import type { AskOptions } from "../ask.ts";
import { PUBLISHED_NAME } from "../published-model.ts";
import type { Bucket, UploadedPart } from "../s3/bucket.ts";
import { keyOf } from "../s3/bucket-shelf.ts";
import { ByteBudget } from "./byte-budget.ts";
import type { PushTarget } from "./push-target.ts";

const MIB = 1 << 20;
/** Bytes of parts that are held in memory, of all files together. */
const HELD = 64 * MIB;
/** The stores take so many parts of a file. */
const MOST_PARTS = 10_000;

/** Parts are small, so that many are on their way at once, until that would be too many. */
export function partSize(size: number): number {
  return Math.max(8 * MIB, Math.ceil(size / MOST_PARTS / MIB) * MIB);
}

/** A model's folder in a bucket. `place` is that folder. */
export function bucketTarget(
  place: BucketPlace,
  bucket: Bucket,
  ask: Pick<AskOptions, "retries" | "onRetry">,
): PushTarget {
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
    async put({ path, size, sha256 }, content, { signal, onBytes }) {
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
      await upload(bucket, key, sha256, { ...options(signal), size, length, content, budget, onBytes });
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

interface Upload extends Pick<AskOptions, "retries" | "onRetry"> {
  signal: AbortSignal;
  size: number;
  length: number;
  content: { read(length: number): Promise<Buffer>; finish(): string };
  budget: ByteBudget;
  onBytes: (count: number) => void;
}

/** Parts are read in order, for the digest, and sent side by side; nothing shows before all are there and right. */
async function upload(bucket: Bucket, key: string, sha256: string, work: Upload): Promise<void> {
  const { size, length, content, budget, onBytes } = work;
  const id = await bucket.beginUpload(key, sha256, work);
  const stop = new AbortController();
  const ask = { ...work, signal: AbortSignal.any([work.signal, stop.signal]) };
  const sending: Promise<UploadedPart>[] = [];
  try {
    for (let number = 1; (number - 1) * length < size; number += 1) {
      const release = await budget.take(length);
      const body = await readPart(content, length, ask.signal).catch((error: unknown) => {
        release();
        throw error;
      });
      const sent = bucket.putPart(key, id, { number, body }, ask).finally(release);
      sending.push(sent);
      sent.then(
        () => onBytes(body.length),
        (error: unknown) => stop.abort(error),
      );
    }
    const parts = await Promise.all(sending);
    content.finish();
    await bucket.completeUpload(key, id, parts, ask);
  } catch (error) {
    stop.abort(error);
    await Promise.allSettled(sending);
    // Also when told to stop: parts that nobody completes would be paid for.
    await bucket.abortUpload(key, id, { retries: 1 }).catch(() => undefined);
    throw error;
  }
}

async function readPart(content: Upload["content"], length: number, signal: AbortSignal): Promise<Buffer> {
  signal.throwIfAborted();
  return content.read(length);
}
