import { promisify } from "node:util";
import { constants, zstdCompress } from "node:zlib";

const pack = promisify(zstdCompress);

/** Bytes of a frame before they are packed: each frame stands for itself, so that writing can go on after any. */
const FRAME_BYTES = 8 << 20;
/** Frames that are packed at once, by the threads of the platform. */
const AT_ONCE = 4;
const LEVEL = 3;

/** Packs a stream by zstd, frame by frame, several at once, and hands them on in order. */
export class Packer {
  readonly #write: (bytes: Uint8Array) => Promise<void>;
  #pieces: Uint8Array[] = [];
  #length = 0;
  readonly #frames: Promise<Buffer>[] = [];

  constructor(write: (bytes: Uint8Array) => Promise<void>) {
    this.#write = write;
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#pieces.push(bytes);
    this.#length += bytes.length;
    if (this.#length < FRAME_BYTES) return;
    this.#begin();
    if (this.#frames.length >= AT_ONCE) await this.#handOn();
  }

  /** Hands on all that was written. */
  async flush(): Promise<void> {
    this.#begin();
    while (this.#frames.length > 0) await this.#handOn();
  }

  #begin(): void {
    if (this.#length === 0) return;
    const frame = pack(Buffer.concat(this.#pieces), {
      params: { [constants.ZSTD_c_compressionLevel]: LEVEL, [constants.ZSTD_c_checksumFlag]: 1 },
    });
    // Met where it is handed on.
    frame.catch(() => undefined);
    this.#frames.push(frame);
    this.#pieces = [];
    this.#length = 0;
  }

  async #handOn(): Promise<void> {
    const frame = await this.#frames.shift();
    if (frame) await this.#write(frame);
  }
}
