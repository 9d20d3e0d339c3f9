import { type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";

/** Bytes one after the other in files of a length, which `cat` makes one of again; or in a single one. */
export class PartFiles {
  readonly #folder: string;
  readonly #partSize: number;
  #position = 0;
  #open: { index: number; handle: FileHandle } | null = null;

  /** `partSize`: Infinity for a single file. */
  constructor(folder: string, partSize: number) {
    this.#folder = folder;
    this.#partSize = partSize;
  }

  get position(): number {
    return this.#position;
  }

  /** Of the parts so far. */
  get count(): number {
    return this.#position === 0 ? 1 : Math.ceil(this.#position / this.#partSize) || 1;
  }

  path(index: number): string {
    return join(this.#folder, `part-${index}`);
  }

  /** Goes on at a byte that is there; what stands after it is forgotten. */
  async goOn(position: number): Promise<void> {
    await this.#close();
    this.#position = position;
    const index = this.#index();
    const handle = await this.#at(index);
    await handle.truncate(position - index * this.#start());
    for (let later = index + 1; await removed(this.path(later)); later += 1);
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let written = 0; written < bytes.length; ) {
      const index = this.#index();
      const within = this.#position - index * this.#start();
      const length = Math.min(bytes.length - written, this.#partSize - within);
      const handle = await this.#at(index);
      const { bytesWritten } = await handle.write(bytes, written, length, within);
      written += bytesWritten;
      this.#position += bytesWritten;
    }
  }

  /** Parts before the one that is open were synced when they were full. */
  async sync(): Promise<void> {
    await this.#open?.handle.datasync();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }

  #index(): number {
    return Math.floor(this.#position / this.#partSize);
  }

  #start(): number {
    return Number.isFinite(this.#partSize) ? this.#partSize : 0;
  }

  async #at(index: number): Promise<FileHandle> {
    if (this.#open?.index === index) return this.#open.handle;
    await this.#open?.handle.datasync();
    await this.#close();
    const path = this.path(index);
    // Never one that is linked to from elsewhere: only the export's own folder has these.
    const handle = await open(path, "r+").catch(() => open(path, "w+", 0o644));
    this.#open = { index, handle };
    return handle;
  }

  async #close(): Promise<void> {
    await this.#open?.handle.close();
    this.#open = null;
  }
}

async function removed(path: string): Promise<boolean> {
  return rm(path).then(
    () => true,
    () => false,
  );
}
