import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  type Part,
  PutObjectCommand,
  S3Client,
  type S3ClientConfig,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import type { Dispatcher } from "undici";
import { MusterError } from "../../errors.ts";
import { registerSecret } from "../../redact.ts";
import { retry } from "../../retry.ts";
import type { ObjectStore } from "../../settings/object-store.ts";
import type { AskOptions } from "../ask.ts";
import { USER_AGENT } from "../ask.ts";
import { s3Error } from "./s3-error.ts";
import { sdkTransport } from "./sdk-transport.ts";

/** A signed URL holds for so long (credentials that hold for a shorter time end it sooner). */
const SIGNED_S = 12 * 3600;
/** Bytes; a text that is longer is none of ours. */
const LARGEST_TEXT = 32 << 20;

export interface ObjectFacts {
  size: number;
  /** Hex; as `muster push` or the store itself noted it, else null. */
  sha256: string | null;
}

export interface UploadedPart {
  PartNumber: number;
  ETag: string | undefined;
}

/** Of an unfinished upload, as the store lists it. */
export interface StoredPart {
  part: UploadedPart;
  size: number;
  /** Of its bytes, where the store tells. */
  crc32: number | null;
  md5: string | null;
}

type Ask = Pick<AskOptions, "retries" | "mostWaitMs" | "signal" | "onRetry">;

/** Credentials come from where AWS tools look for them. */
export function connectBuckets(store: ObjectStore, dispatcher: Dispatcher): (name: string) => Bucket {
  const config: S3ClientConfig = {
    ...(store.endpoint ? { endpoint: store.endpoint } : {}),
    ...(store.region ? { region: store.region } : {}),
    forcePathStyle: store.forcePathStyle,
    // Our own retries come on top: the SDK's one is what sets its clock right.
    maxAttempts: 2,
    // Digests are checked by ourselves, whichever way bytes come.
    responseChecksumValidation: "WHEN_REQUIRED",
    customUserAgent: USER_AGENT,
    requestHandler: sdkTransport(dispatcher) as unknown as NonNullable<S3ClientConfig["requestHandler"]>,
  };
  const client = new S3Client(config);
  // Or else the checksum of an empty body becomes part of signed URLs.
  const signer = new S3Client({ ...config, requestChecksumCalculation: "WHEN_REQUIRED" });
  return (name) => new Bucket(name, { client, signer, endpoint: store.endpoint ?? "https://s3.amazonaws.com" });
}

/** The requests of one bucket, tried again while errors are of the passing kind. All throw MusterError. */
export class Bucket {
  readonly name: string;
  readonly #client: S3Client;
  readonly #signer: S3Client;
  readonly endpoint: string;

  constructor(name: string, { client, signer, endpoint }: { client: S3Client; signer: S3Client; endpoint: string }) {
    this.name = name;
    this.#client = client;
    this.#signer = signer;
    this.endpoint = endpoint;
  }

  /** A small object as text; null where there is none. */
  read(key: string, options: Ask): Promise<string | null> {
    return this.#orNull(key, options, async (abortSignal) => {
      const { Body, ContentLength = 0 } = await this.#client.send(
        new GetObjectCommand({ Bucket: this.name, Key: key }),
        { abortSignal },
      );
      if (ContentLength > LARGEST_TEXT) throw tooLong(this.show(key), ContentLength);
      return (await Body?.transformToString()) ?? "";
    });
  }

  head(key: string, options: Ask): Promise<ObjectFacts | null> {
    return this.#orNull(key, options, async (abortSignal) => {
      const { ContentLength, Metadata, ChecksumSHA256 } = await this.#client.send(
        new HeadObjectCommand({ Bucket: this.name, Key: key, ChecksumMode: "ENABLED" }),
        { abortSignal },
      );
      const noted = Metadata?.sha256?.toLowerCase() ?? fromBase64(ChecksumSHA256);
      return { size: ContentLength ?? 0, sha256: noted && /^[0-9a-f]{64}$/.test(noted) ? noted : null };
    });
  }

  /** The objects below the prefix; at most so many, and one more to tell that there are more. */
  async list(prefix: string, most: number, options: Ask): Promise<{ key: string; size: number }[]> {
    const found: { key: string; size: number }[] = [];
    let ContinuationToken: string | undefined;
    do {
      const page = await this.#ask(prefix, options, (abortSignal) =>
        this.#client.send(
          new ListObjectsV2Command({
            Bucket: this.name,
            Prefix: prefix,
            ContinuationToken,
            MaxKeys: Math.min(1000, most + 1),
          }),
          { abortSignal },
        ),
      );
      for (const { Key, Size = 0 } of page.Contents ?? []) if (Key) found.push({ key: Key, size: Size });
      ContinuationToken = page.IsTruncated ? page.NextContinuationToken : undefined;
    } while (ContinuationToken && found.length <= most);
    return found;
  }

  /** A URL that grants reading the object, for a time. */
  async sign(key: string): Promise<string> {
    try {
      const credentials = await this.#signer.config.credentials();
      for (const secret of [credentials.secretAccessKey, credentials.sessionToken ?? ""]) registerSecret(secret);
      const command = new GetObjectCommand({ Bucket: this.name, Key: key });
      return await getSignedUrl(this.#signer, command, { expiresIn: SIGNED_S });
    } catch (error) {
      throw this.#fail(error, key);
    }
  }

  async put(key: string, body: Buffer, sha256: string, options: Ask): Promise<void> {
    const checksum = Buffer.from(sha256, "hex").toString("base64");
    await this.#ask(key, options, (abortSignal) =>
      this.#client.send(
        new PutObjectCommand({
          Bucket: this.name,
          Key: key,
          Body: body,
          ContentLength: body.length,
          // Checked there, and kept.
          ChecksumSHA256: checksum,
          Metadata: { sha256 },
        }),
        { abortSignal },
      ),
    );
  }

  /** Gives the id of the upload. */
  async beginUpload(key: string, sha256: string, options: Ask): Promise<string> {
    const { UploadId } = await this.#ask(key, options, (abortSignal) =>
      this.#client.send(new CreateMultipartUploadCommand({ Bucket: this.name, Key: key, Metadata: { sha256 } }), {
        abortSignal,
      }),
    );
    if (UploadId) return UploadId;
    throw this.#fail(new Error("the store began no upload"), key);
  }

  async putPart(
    key: string,
    UploadId: string,
    part: { number: number; body: Buffer },
    options: Ask,
  ): Promise<UploadedPart> {
    const { number: PartNumber, body: Body } = part;
    const { ETag, ChecksumCRC32 } = await this.#ask(key, options, (abortSignal) =>
      this.#client.send(
        new UploadPartCommand({ Bucket: this.name, Key: key, UploadId, PartNumber, Body, ContentLength: Body.length }),
        { abortSignal },
      ),
    );
    return { PartNumber, ETag, ...(ChecksumCRC32 ? { ChecksumCRC32 } : {}) };
  }

  /** What an unfinished upload has, by number; null where there is no such upload any more. */
  listParts(key: string, UploadId: string, options: Ask): Promise<Map<number, StoredPart> | null> {
    return this.#orNull(key, options, async (abortSignal) => {
      const found = new Map<number, StoredPart>();
      let PartNumberMarker: string | undefined;
      do {
        const page = await this.#client.send(
          new ListPartsCommand({ Bucket: this.name, Key: key, UploadId, PartNumberMarker }),
          { abortSignal },
        );
        for (const part of page.Parts ?? []) if (part.PartNumber) found.set(part.PartNumber, storedPart(part));
        PartNumberMarker = page.IsTruncated ? page.NextPartNumberMarker : undefined;
      } while (PartNumberMarker);
      return found;
    });
  }

  async completeUpload(key: string, UploadId: string, parts: UploadedPart[], options: Ask): Promise<void> {
    const Parts = parts.toSorted((a, b) => a.PartNumber - b.PartNumber);
    await this.#ask(key, options, (abortSignal) =>
      this.#client.send(
        new CompleteMultipartUploadCommand({ Bucket: this.name, Key: key, UploadId, MultipartUpload: { Parts } }),
        { abortSignal },
      ),
    );
  }

  async abortUpload(key: string, UploadId: string, options: Ask): Promise<void> {
    await this.#ask(key, options, (abortSignal) =>
      this.#client.send(new AbortMultipartUploadCommand({ Bucket: this.name, Key: key, UploadId }), { abortSignal }),
    );
  }

  async remove(key: string, options: Ask): Promise<void> {
    await this.#ask(key, options, (abortSignal) =>
      this.#client.send(new DeleteObjectCommand({ Bucket: this.name, Key: key }), { abortSignal }),
    );
  }

  async #orNull<T>(key: string, options: Ask, work: (signal?: AbortSignal) => Promise<T>): Promise<T | null> {
    try {
      return await this.#ask(key, options, work);
    } catch (error) {
      if (error instanceof MusterError && error.code === "FILE_NOT_FOUND") return null;
      throw error;
    }
  }

  #ask<T>(
    key: string,
    { retries, mostWaitMs, signal, onRetry }: Ask,
    work: (signal?: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const once = () => work(signal).catch((error: unknown) => Promise.reject(this.#fail(error, key)));
    return retry(once, { retries, minDelayMs: 500, maxDelayMs: 15_000, mostWaitMs, signal, onRetry });
  }

  #fail(error: unknown, key: string): MusterError {
    return s3Error(error, { name: this.show(key), endpoint: this.endpoint });
  }

  /** The object's address, for people. */
  show(key: string): string {
    return `s3://${this.name}/${key}`;
  }
}

/** Of a whole object; what ends in -N is a checksum of its parts' checksums, and says nothing here. */
function fromBase64(checksum = ""): string | null {
  return checksum.includes("-") ? null : Buffer.from(checksum, "base64").toString("hex");
}

function storedPart({ PartNumber = 0, ETag, Size = 0, ChecksumCRC32 }: Part): StoredPart {
  const md5 = /^"?([0-9a-f]{32})"?$/i.exec(ETag ?? "")?.[1]?.toLowerCase() ?? null;
  return {
    part: { PartNumber, ETag, ...(ChecksumCRC32 ? { ChecksumCRC32 } : {}) },
    size: Size,
    crc32: ChecksumCRC32 ? Buffer.from(ChecksumCRC32, "base64").readUInt32BE() : null,
    md5,
  };
}

function tooLong(name: string, size: number): MusterError {
  return new MusterError("RESPONSE_INVALID", `${name} has ${size} bytes, which is no manifest or configuration.`, {
    hint: "Publish the model anew with `muster push`.",
  });
}
