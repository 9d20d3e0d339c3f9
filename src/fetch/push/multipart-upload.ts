import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { toMusterError } from "../../errors.ts";
import type { AskOptions } from "../ask.ts";
import type { PublishedFile } from "../published-model.ts";
import type { Bucket, StoredPart, UploadedPart } from "../s3/bucket.ts";
import type { ByteBudget } from "./byte-budget.ts";
import type { CheckedFile } from "./checked-file.ts";
import type { UploadNotes } from "./upload-notes.ts";

export interface Upload extends Pick<AskOptions, "retries" | "onRetry"> {
  bucket: Bucket;
  key: string;
  file: PublishedFile;
  /** Bytes of a part. */
  length: number;
  content: Pick<CheckedFile, "read" | "finish">;
  budget: ByteBudget;
  notes: UploadNotes;
  signal: AbortSignal;
  onBytes: (count: number) => void;
}

/**
 * Parts are read in order, for the digest, and sent side by side; nothing shows before all are there and right. What an
 * interrupted upload of the same file has brought is not sent again.
 */
export async function upload(work: Upload): Promise<void> {
  const { bucket, key, file, length, content, budget, notes, onBytes } = work;
  const begun = await resumeOrBegin(work);
  const { id } = begun;
  const stop = new AbortController();
  const ask = { ...work, signal: AbortSignal.any([work.signal, stop.signal]) };
  const sending: Promise<UploadedPart>[] = [];
  const putPart = async (number: number, body: Buffer): Promise<UploadedPart> => {
    const stored = begun.parts.get(number);
    const part = stored && isSame(stored, body) ? stored.part : await bucket.putPart(key, id, { number, body }, ask);
    onBytes(body.length);
    return part;
  };
  try {
    for (let number = 1; (number - 1) * length < file.size; number += 1) {
      const release = await budget.take(length);
      const body = await readPart(content, length, ask.signal).catch((error: unknown) => {
        release();
        throw error;
      });
      const sent = putPart(number, body).finally(release);
      sending.push(sent);
      sent.catch((error: unknown) => stop.abort(error));
    }
    const parts = await Promise.all(sending);
    content.finish();
    await bucket.completeUpload(key, id, parts, ask);
    if (begun.isNoted) await notes.remove(placeOf(work));
  } catch (error) {
    stop.abort(error);
    await Promise.allSettled(sending);
    if (!begun.isNoted || !isPassing(error)) {
      // Parts that nobody completes would be paid for.
      await bucket.abortUpload(key, id, { retries: 1 }).catch(() => undefined);
      if (begun.isNoted) await notes.remove(placeOf(work));
    }
    throw error;
  }
}

interface Begun {
  id: string;
  /** What is there already, by number. */
  parts: ReadonlyMap<number, StoredPart>;
  /** The next push can go on with it. */
  isNoted: boolean;
}

/** Of a store that does not tell: all is sent again, to the same upload. */
const NOTHING: Begun["parts"] = new Map();

async function resumeOrBegin(work: Upload): Promise<Begun> {
  const { bucket, key, file, length, notes } = work;
  const { sha256, size } = file;
  const place = placeOf(work);
  const noted = await notes.find(place);
  if (noted && noted !== "busy") {
    const { uploadId: id } = noted;
    const fits = noted.sha256 === sha256 && noted.size === size && noted.length === length;
    const parts = fits ? await bucket.listParts(key, id, work).catch(() => NOTHING) : null;
    work.signal.throwIfAborted();
    if (parts) return { id, parts, isNoted: await notes.write(place, noted) };
    await bucket.abortUpload(key, id, { retries: 1, signal: work.signal }).catch(() => undefined);
  }
  const id = await bucket.beginUpload(key, sha256, work);
  const isNoted = noted !== "busy" && (await notes.write(place, { uploadId: id, sha256, size, length }));
  return { id, parts: NOTHING, isNoted };
}

/** Two stores may have buckets of the same name. */
function placeOf({ bucket, key }: Upload): string {
  return `${bucket.endpoint} ${bucket.show(key)}`;
}

/** What the store says of a part it has, against these bytes. */
function isSame({ size, crc32: sum, md5 }: StoredPart, body: Buffer): boolean {
  if (size !== body.length) return false;
  if (sum !== null) return sum === crc32(body);
  return md5 !== null && md5 === createHash("md5").update(body).digest("hex");
}

/** Trouble that does not stay: the same push, run again, goes on with what is there. */
function isPassing(error: unknown): boolean {
  const { retryable, code } = toMusterError(error);
  return retryable && code !== "DIGEST_MISMATCH";
}

async function readPart(content: Upload["content"], length: number, signal: AbortSignal): Promise<Buffer> {
  signal.throwIfAborted();
  return content.read(length);
}
