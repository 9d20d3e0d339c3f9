import { createHash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Digest } from "../../model.ts";

const BUFFER_BYTES = 1 << 20;
/** Hashed without letting sockets have a turn: a few milliseconds. */
const TURN_BYTES = 8 << 20;

/** Digests a file in order while it is being written, reading back from the page cache what has become contiguous. */
export class FileDigest {
  readonly #fd: number;
  readonly #hash;
  readonly #buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  #position = 0;

  constructor(fd: number, digest: Digest, size: number) {
    this.#fd = fd;
    this.#hash = createHash(digest.algorithm === "sha256" ? "sha256" : "sha1");
    // git names content by type and length before the bytes.
    if (digest.algorithm === "git-sha1") this.#hash.update(`blob ${size}\0`);
  }

  /** Digests up to `end`, which has to be written. */
  async advance(end: number, signal?: AbortSignal): Promise<void> {
    for (let turn = TURN_BYTES; this.#position < end; ) {
      const count = readSync(this.#fd, this.#buffer, 0, Math.min(BUFFER_BYTES, end - this.#position), this.#position);
      // Shorter than it should be: the digest will not match, which says it all.
      if (count === 0) return;
      this.#hash.update(count === BUFFER_BYTES ? this.#buffer : this.#buffer.subarray(0, count));
      this.#position += count;
      turn -= count;
      if (turn <= 0) {
        await nextTurn();
        signal?.throwIfAborted();
        turn = TURN_BYTES;
      }
    }
  }

  /** Hex, lower case. Ends the digest. */
  finish(): string {
    return this.#hash.digest("hex");
  }
}

/** Whether the file's content has the digest; false also where it cannot be read: it is as good as not there. */
export async function digestMatches(
  { path, size, digest: expected }: { path: string; size: number; digest: Digest },
  signal: AbortSignal,
): Promise<boolean> {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return false;
  }
  try {
    const digest = new FileDigest(fd, expected, size);
    await digest.advance(size, signal);
    return digest.finish() === expected.hex;
  } finally {
    closeSync(fd);
  }
}
