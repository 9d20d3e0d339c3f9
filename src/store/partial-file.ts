import {
  closeSync,
  existsSync,
  fchmodSync,
  fdatasync,
  fsync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { hasSystemCode } from "../errors.ts";
import type { Digest } from "../model.ts";
import { makeFolder } from "./make-folder.ts";
import { addRange, type Range, totalBytes } from "./ranges.ts";

/** The disk begins this early, so that little is left to wait for at the end. */
const SYNC_BYTES = 64 << 20;

/**
 * A file that is being fetched: its bytes, at their final offsets, and a journal of the ranges written. A kill at any
 * moment costs what was written since the last journal line. Synchronous, because it lives on a transfer thread.
 */
export class PartialFile {
  readonly path: string;
  #fd: number;
  readonly #journalPath: string;
  /** Null where none is kept. */
  #journal: number | null;
  #done: Range[];
  /** Bytes written since the disk was last set to work. */
  #unsynced = 0;
  /** The disk is at work; gives what went wrong. */
  #syncing: Promise<unknown> | null = null;

  private constructor(path: string, fd: number, journalPath: string, journal: number | null, done: Range[]) {
    this.path = path;
    this.#fd = fd;
    this.#journalPath = journalPath;
    this.#journal = journal;
    this.#done = done;
  }

  /**
   * Opens or creates the partial of a file; ranges that an earlier process finished are kept. Without a journal it begins
   * anew each time, and costs a third of the system calls: for files that come in one go.
   */
  static open(folder: string, digest: Digest, size: number, { journaled = true } = {}): PartialFile {
    if (!existsSync(folder)) mkdirSync(folder, { recursive: true });
    const { path, journalPath } = partialPaths(folder, digest);
    const header = journalHeader(digest, size);
    if (!journaled) return new PartialFile(path, createFile(path), journalPath, null, []);
    const done = isOwn(path, size) ? readJournal(journalPath, header) : null;
    // The journal first: without data it is worth nothing, and data with the journal of an older try would be believed.
    if (!done) writeFileAtomically(journalPath, header);
    const fd = done ? openSync(path, "r+") : createFile(path);
    try {
      if (!done) ftruncateSync(fd, size);
      return new PartialFile(path, fd, journalPath, openSync(journalPath, "a"), done ?? []);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** Another one after a restart. */
  get fd(): number {
    return this.#fd;
  }

  get done(): readonly Range[] {
    return this.#done;
  }

  write(bytes: Uint8Array, offset: number): void {
    for (let written = 0; written < bytes.length; ) {
      written += writeSync(this.#fd, bytes, written, bytes.length - written, offset + written);
    }
    this.#unsynced += bytes.length;
    if (this.#unsynced < SYNC_BYTES || this.#syncing) return;
    this.#unsynced = 0;
    this.#syncing = new Promise((resolve) => {
      fdatasync(this.#fd, (error) => {
        // The system tells a failure once; `sync` has to know of it.
        if (error) this.#distrust();
        else this.#syncing = null;
        resolve(error);
      });
    });
  }

  /** Notes that these bytes are written; gives how many of them were not before. One line, one write: a torn last line is ignored when read. */
  note(range: Range): number {
    if (range.end <= range.start) return 0;
    if (this.#journal !== null) writeSync(this.#journal, `${range.start} ${range.end}\n`);
    const before = totalBytes(this.#done);
    this.#done = addRange(this.#done, range);
    return totalBytes(this.#done) - before;
  }

  /** Forgets everything written, after a digest that did not match. */
  restart(digest: Digest, size: number): void {
    if (this.#journal !== null) {
      writeFileAtomically(this.#journalPath, journalHeader(digest, size));
      const journal = openSync(this.#journalPath, "a");
      closeSync(this.#journal);
      this.#journal = journal;
    }
    this.#done = [];
    // Another file, not this one made empty: somebody who took over while this process was frozen may have committed it.
    const fd = createFile(this.path);
    ftruncateSync(fd, size);
    closeSync(this.#fd);
    this.#fd = fd;
  }

  /** Not synchronous: it may take long, and other files' sockets would be taken for stalled. */
  async sync(): Promise<void> {
    const failure = await this.#syncing;
    if (failure) throw failure;
    try {
      await promisify(fsync)(this.#fd);
    } catch (error) {
      this.#distrust();
      throw error;
    }
  }

  /** Bytes that did not reach the disk may still be read from memory, and their loss is not told again: begin anew. */
  #distrust(): void {
    rmSync(this.#journalPath, { force: true });
  }

  close(): void {
    closeSync(this.#fd);
    if (this.#journal !== null) closeSync(this.#journal);
  }
}

/** Bytes that an unfinished file already has. */
export function partialBytes(folder: string, digest: Digest, size: number): number {
  const { path, journalPath } = partialPaths(folder, digest);
  return sizeOf(path) === size ? totalBytes(readJournal(journalPath, journalHeader(digest, size)) ?? []) : 0;
}

/**
 * Gives a verified partial its final name; `syncFolder` of the target's folder makes that durable. The journal goes
 * last: without it the partial is worth nothing.
 */
export async function commitPartial(
  folder: string,
  digest: Digest,
  target: string,
  { journaled = true } = {},
): Promise<void> {
  const { path, journalPath } = partialPaths(folder, digest);
  await rename(path, target).catch(async (error: unknown) => {
    if (!hasSystemCode(error, "ENOENT")) throw error;
    await makeFolder(dirname(target));
    await rename(path, target);
  });
  if (journaled) await rm(journalPath, { force: true });
}

/** Removes what there is of a file that came another way. */
export async function dropPartial(folder: string, digest: Digest): Promise<void> {
  const { path, journalPath } = partialPaths(folder, digest);
  await Promise.all([path, journalPath].map((each) => rm(each, { force: true })));
}

/** Makes renames inside the folder survive a power cut, where the file system can. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => null);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

/** Where the bytes of an unfinished file stand. */
export function partialPath(folder: string, digest: Digest): string {
  return partialPaths(folder, digest).path;
}

/** Readable for everybody, whatever this process's mask: engines run as other users. */
function createFile(path: string): number {
  const fd = openNew(path);
  fchmodSync(fd, 0o644);
  return fd;
}

/** What a kill left of copying a file of a disk may be that very file, by a hard link: it is never written to. */
function openNew(path: string): number {
  try {
    return openSync(path, "wx+", 0o644);
  } catch (error) {
    if (!hasSystemCode(error, "EEXIST")) throw error;
    rmSync(path);
    return openSync(path, "wx+", 0o644);
  }
}

function isOwn(path: string, size: number): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  return found?.size === size && found.nlink === 1;
}

function sizeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.size;
}

function partialPaths(folder: string, digest: Digest) {
  const base = join(folder, `${digest.algorithm}-${digest.hex}`);
  return { path: `${base}.partial`, journalPath: `${base}.journal` };
}

function journalHeader(digest: Digest, size: number): string {
  return `muster-journal 1 ${digest.algorithm}:${digest.hex} ${size}\n`;
}

/** The ranges a journal lists, or null where it is not one of this very file. */
function readJournal(path: string, header: string): Range[] | null {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return null;
  }
  if (!text.startsWith(header)) return null;
  const size = Number(header.trimEnd().split(" ").at(-1));
  let done: Range[] = [];
  // The last piece is either empty or a line that was torn by a kill.
  for (const line of text.slice(header.length).split("\n").slice(0, -1)) {
    const match = /^(\d+) (\d+)$/.exec(line);
    const range = { start: Number(match?.[1]), end: Number(match?.[2]) };
    if (match && range.start < range.end && range.end <= size) done = addRange(done, range);
  }
  return done;
}

function writeFileAtomically(path: string, text: string): void {
  const temporary = `${path}.${crypto.randomUUID()}`;
  try {
    writeFileSync(temporary, text);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
