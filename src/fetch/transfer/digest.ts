import { createHash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Digest } from "../../model.ts";

const BUFFER_BYTES = 1 << 20;
/** Digested without letting sockets have a turn: a few milliseconds. */
const TURN_BYTES = 4 << 20;

/** The digest of a file's content, given or read in order. */
export class FileDigest {
  readonly #fd: number;
  readonly #hash;
  #buffer: Buffer | null = null;
  #position = 0;

  constructor(fd: number, algorithm: Digest["algorithm"], size: number) {
    this.#fd = fd;
    this.#hash = createHash(algorithm === "sha256" ? "sha256" : "sha1");
    // git names content by type and length before the bytes.
    if (algorithm === "git-sha1") this.#hash.update(`blob ${size}\0`);
  }

  /** The bytes that come next. */
  update(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    this.#position += bytes.length;
  }

  /** Reads on up to `end`, which has to be written. */
  read(end: number): void {
    this.#buffer ??= Buffer.allocUnsafeSlow(BUFFER_BYTES);
    while (this.#position < end) {
      const wanted = Math.min(BUFFER_BYTES, end - this.#position);
      const count = readSync(this.#fd, this.#buffer, 0, wanted, this.#position);
      // Shorter than it should be: the digest will not match, which says it all.
      if (count === 0) return;
      this.update(this.#buffer.subarray(0, count));
    }
  }

  /** Hex, lower case. Ends the digest. */
  finish(): string {
    return this.#hash.digest("hex");
  }
}

/** The digest of the file's content, hex; null where it cannot be read: it is as good as not there. */
export async function digestOfFile(
  { path, size, algorithm }: { path: string; size: number; algorithm: Digest["algorithm"] },
  signal: AbortSignal,
  /** Told of bytes read; what it waits for holds up the next. */
  onRead: (count: number) => Promise<unknown> = () => nextTurn(),
): Promise<string | null> {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return null;
  }
  try {
    const digest = new FileDigest(fd, algorithm, size);
    for (let end = 0; end < size; ) {
      const count = Math.min(size - end, TURN_BYTES);
      end += count;
      digest.read(end);
      await onRead(count);
      signal.throwIfAborted();
    }
    return digest.finish();
  } finally {
    closeSync(fd);
  }
}
