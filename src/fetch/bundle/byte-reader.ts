import { type FileHandle, open } from "node:fs/promises";
import { refused } from "./bundle-manifest.ts";

const PIECE = 1 << 20;

/** The bytes of a bundle's tar, wherever they come from. */
export interface ByteReader extends AsyncDisposable {
  /** For errors. */
  readonly name: string;
  readonly position: number;
  /** The next bytes, so many at most; null at the end. */
  read(most: number): Promise<Buffer | null>;
  /** Goes on further ahead; where the bytes have to come by, they do. */
  skip(count: number): Promise<void>;
  /** Goes anywhere; null where what has passed is gone. */
  readonly seek: ((position: number) => void) | null;
  /** All its bytes; null where only reading them tells. */
  readonly size: number | null;
}

/** So many bytes, or null where it ends before. */
export async function readExactly(reader: ByteReader, count: number): Promise<Buffer | null> {
  const pieces: Buffer[] = [];
  for (let missing = count; missing > 0; ) {
    const piece = await reader.read(missing);
    if (piece === null) return null;
    pieces.push(piece);
    missing -= piece.length;
  }
  return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
}

/** Files that are parts of one, in order. */
export async function fileReader(name: string, paths: readonly string[]): Promise<ByteReader> {
  const handles: FileHandle[] = [];
  const close = async () => void (await Promise.all(handles.map((handle) => handle.close())));
  const ends: number[] = [];
  try {
    for (const path of paths) {
      const handle = await open(path, "r");
      handles.push(handle);
      ends.push((ends.at(-1) ?? 0) + (await handle.stat()).size);
    }
  } catch (error) {
    await close();
    throw error;
  }
  const size = ends.at(-1) ?? 0;
  let position = 0;
  return {
    name,
    size,
    get position() {
      return position;
    },
    async read(most) {
      const index = ends.findIndex((end) => end > position);
      if (index < 0) return null;
      const start = ends[index - 1] ?? 0;
      const buffer = Buffer.allocUnsafeSlow(Math.min(most, PIECE, ends[index]! - position));
      const { bytesRead } = await handles[index]!.read(buffer, 0, buffer.length, position - start);
      // Cut short since it was opened.
      if (bytesRead === 0) return null;
      position += bytesRead;
      return buffer.subarray(0, bytesRead);
    },
    async skip(count) {
      position += count;
    },
    seek(to) {
      position = to;
    },
    [Symbol.asyncDispose]: close,
  };
}

/** What comes by once: standard input, or what is unpacked on the way. */
export function streamReader(name: string, stream: AsyncIterable<Uint8Array>): ByteReader {
  const source = stream[Symbol.asyncIterator]();
  let rest: Buffer = Buffer.alloc(0);
  let position = 0;
  const next = async (most: number): Promise<Buffer | null> => {
    while (rest.length === 0) {
      const { value, done } = await source.next().catch((cause: unknown) => {
        throw refused(name, "it is damaged, or was cut short on its way", cause);
      });
      if (done) return null;
      rest = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    }
    const piece = rest.subarray(0, most);
    rest = rest.subarray(piece.length);
    position += piece.length;
    return piece;
  };
  return {
    name,
    size: null,
    seek: null,
    get position() {
      return position;
    },
    read: next,
    async skip(count) {
      for (let left = count; left > 0; ) {
        const piece = await next(left);
        if (piece === null) return;
        left -= piece.length;
      }
    },
    async [Symbol.asyncDispose]() {
      await source.return?.().catch(() => undefined);
    },
  };
}
