import { createHash, type Hash } from "node:crypto";
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { open } from "node:fs/promises";

/** What a test hands in: text, bytes, or a file on disk. A known `sha256` spares hashing a huge file again. */
export type FileSource = string | Uint8Array | { path: string; sha256?: string };

/** Bytes that can be served from any offset, in memory or on disk. */
export interface Content {
  size: number;
  sha256: string;
  bytes?: Buffer;
  path?: string;
}

const PIECE = 512 * 1024;

export function contentOf(source: FileSource): Content {
  if (typeof source !== "string" && "path" in source) {
    const { path } = source;
    return { path, size: statSync(path).size, sha256: source.sha256 ?? diskSha256(path) };
  }
  const bytes =
    typeof source === "string" ? Buffer.from(source) : Buffer.from(source.buffer, source.byteOffset, source.byteLength);
  return { bytes, size: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
}

/** The object name git gives these bytes; the Hub uses it as the ETag of every file that is not LFS. */
export function gitBlobSha1(content: Content): string {
  const hash = createHash("sha1").update(`blob ${content.size}\0`);
  if (content.bytes) hash.update(content.bytes);
  else readInto(hash, content.path!);
  return hash.digest("hex");
}

/**
 * The bytes [start, end) in pieces. A piece is only valid until the next one is asked for: two buffers take turns,
 * because a new one per piece costs more than the read itself when gigabytes go through.
 */
export async function* piecesOf(content: Content, start: number, end: number): AsyncGenerator<Buffer> {
  if (content.bytes) {
    for (let at = start; at < end; at += PIECE) yield content.bytes.subarray(at, Math.min(at + PIECE, end));
    return;
  }
  const file = await open(content.path!);
  try {
    const buffers = [Buffer.allocUnsafeSlow(PIECE), Buffer.allocUnsafeSlow(PIECE)];
    let at = start;
    let turn = 0;
    const readNext = () => file.read(buffers[turn++ % 2]!, 0, Math.min(PIECE, end - at), at);
    let next = at < end ? readNext() : undefined;
    while (next) {
      const { bytesRead, buffer } = await next;
      if (bytesRead === 0) throw new Error(`${content.path} became shorter while it was served`);
      at += bytesRead;
      next = at < end ? readNext() : undefined;
      // The consumer may leave in the middle; a failed read ahead must not surface as an unhandled rejection then.
      next?.catch(() => undefined);
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

/** Mirrors in one test serve the same big file; hashing it once is enough. */
const known = new Map<string, string>();

function diskSha256(path: string): string {
  const { size, mtimeMs } = statSync(path);
  const key = `${path}:${size}:${mtimeMs}`;
  const digest = known.get(key) ?? readInto(createHash("sha256"), path).digest("hex");
  known.set(key, digest);
  return digest;
}

function readInto(hash: Hash, path: string): Hash {
  const file = openSync(path, "r");
  try {
    const buffer = Buffer.allocUnsafeSlow(4 * PIECE);
    for (;;) {
      const read = readSync(file, buffer);
      if (read === 0) return hash;
      hash.update(buffer.subarray(0, read));
    }
  } finally {
    closeSync(file);
  }
}
