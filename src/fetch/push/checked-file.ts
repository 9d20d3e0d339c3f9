import type { Hash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { MusterError } from "../../errors.ts";
import type { FileSpec } from "../../model.ts";
import { startHash } from "../hash-file.ts";

/** A file of the volume, read in order and held against its record. */
export class CheckedFile implements AsyncDisposable {
  readonly file: FileSpec;
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #hashes: { hash: Hash; algorithm: string }[];
  #position = 0;

  private constructor(path: string, file: FileSpec, handle: FileHandle) {
    this.file = file;
    this.#path = path;
    this.#handle = handle;
    const algorithms = new Set(["sha256", file.digest.algorithm] as const);
    this.#hashes = [...algorithms].map((algorithm) => ({ algorithm, hash: startHash(algorithm, file.size) }));
  }

  static async open(path: string, file: FileSpec): Promise<CheckedFile> {
    try {
      return new CheckedFile(path, file, await open(path, "r"));
    } catch (error) {
      throw unreadable(path, error);
    }
  }

  /** The next bytes; fewer only at the end. */
  async read(length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafeSlow(Math.min(length, this.file.size - this.#position));
    let filled = 0;
    while (filled < buffer.length) {
      const { bytesRead } = await this.#handle
        .read(buffer, filled, buffer.length - filled, this.#position + filled)
        .catch((error: unknown) => Promise.reject(unreadable(this.#path, error)));
      // Cut short: the digest tells.
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    this.#position += buffer.length;
    const bytes = buffer.subarray(0, filled);
    for (const { hash } of this.#hashes) hash.update(bytes);
    return bytes;
  }

  /** All being read: the sha256, hex. Throws DIGEST_MISMATCH where the file is not the one of the record. */
  finish(): string {
    const found = new Map(this.#hashes.map(({ algorithm, hash }) => [algorithm, hash.digest("hex")]));
    const { algorithm, hex } = this.file.digest;
    if (found.get(algorithm) === hex) return found.get("sha256") ?? hex;
    throw new MusterError(
      "DIGEST_MISMATCH",
      `${this.#path} is damaged: its ${algorithm} is ${found.get(algorithm)}, and its record says ${hex}.`,
      { hint: `Remove it with \`rm ${this.#path}\`, run \`muster sync\` to fetch it anew, then run this again.` },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }
}

function unreadable(path: string, cause: unknown): MusterError {
  return new MusterError("MODEL_INCOMPLETE", `${path} cannot be read (${(cause as NodeJS.ErrnoException).code}).`, {
    hint: "Run `muster sync` to complete the model, then run this again.",
    cause,
  });
}
