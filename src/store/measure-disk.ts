import { randomFillSync } from "node:crypto";
import { constants, type FileHandle, mkdtemp, open, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { hasSystemCode } from "../errors.ts";
import { acquireLease } from "./lease.ts";

/** What the volume does in the ways in which it is used. */
export interface DiskMeasures {
  /** Bytes a second, the sync at the end included. */
  writeRate: number;
  readRate: number;
  /** Past the page cache; or else what was read is what had just been written, and may never have left memory. */
  readsDisk: boolean;
  /** Of a small write and its sync. */
  syncMs: Latency;
  /** Of giving a small file its name. */
  renameMs: Latency;
  /** Of taking a lease that nobody has, and giving it back. */
  leaseMs: Latency;
}

export interface Latency {
  median: number;
  worst: number;
}

export interface MeasureOptions {
  /** Of the file that is written and read. */
  bytes: number;
  signal: AbortSignal;
  /** Bytes written or read; twice the file's in all. */
  onBytes: (count: number) => void;
}

/** A piece of a file, and a multiple of every disk's blocks. */
const PIECE = 8 << 20;
/** Of WebAssembly's memory. */
const PAGE = 65_536;
const SMALL = 4096;
const TIMES = { sync: 50, rename: 50, lease: 10 };
/** `muster prune` knows folders of this name, should this be killed. */
const TRIAL = ".muster-doctor-bench-";

/** Measures in a folder of its own in this one, which is gone at the end, whatever that is. Throws as the system does. */
export async function measureDisk(folder: string, { bytes, signal, onBytes }: MeasureOptions): Promise<DiskMeasures> {
  const trial = await mkdtemp(join(folder, TRIAL));
  try {
    const piece = alignedBuffer(PIECE);
    // So that a file system that compresses gains nothing.
    randomFillSync(piece);
    const path = join(trial, "large");
    const pieces = Math.max(1, Math.ceil(bytes / PIECE));
    const writeRate = await write(path, { piece, pieces, signal, onBytes });
    const { rate: readRate, readsDisk } = await read(path, { piece, pieces, signal, onBytes });
    return {
      ...{ writeRate, readRate, readsDisk },
      syncMs: await syncs(join(trial, "small"), signal),
      renameMs: await latency(TIMES.rename, signal, async (count) => {
        await writeFile(join(trial, "new"), String(count));
        return () => rename(join(trial, "new"), join(trial, "named"));
      }),
      leaseMs: await latency(TIMES.lease, signal, async (count) => async () => {
        const lease = await acquireLease(join(trial, `lease-${count}`), { what: "a measurement", signal });
        await lease.release();
      }),
    };
  } finally {
    await rm(trial, { recursive: true, force: true });
  }
}

/** O_DIRECT wants memory that begins with a page; a Buffer of Node's begins anywhere. */
function alignedBuffer(length: number): Buffer {
  const { WebAssembly } = globalThis as unknown as {
    WebAssembly: { Memory: new (size: { initial: number }) => { buffer: ArrayBuffer } };
  };
  return Buffer.from(new WebAssembly.Memory({ initial: length / PAGE }).buffer);
}

interface Pieces extends Omit<MeasureOptions, "bytes"> {
  piece: Buffer;
  pieces: number;
}

async function write(path: string, { piece, pieces, signal, onBytes }: Pieces): Promise<number> {
  await using file = await open(path, "wx");
  const startedAt = performance.now();
  for (let index = 0; index < pieces; index += 1) {
    signal.throwIfAborted();
    // No two are the same to a file system that keeps equal blocks once.
    for (let at = 0; at < piece.length; at += SMALL) piece.writeUInt32LE(index, at);
    await whole(piece, (from) => file.write(piece, from).then(({ bytesWritten }) => bytesWritten));
    onBytes(piece.length);
  }
  await file.sync();
  return rateOf(pieces, startedAt);
}

async function read(
  path: string,
  { piece, pieces, signal, onBytes }: Pieces,
): Promise<{ rate: number; readsDisk: boolean }> {
  const { file, readsDisk } = await openPastCache(path);
  await using _closed = file;
  const startedAt = performance.now();
  for (let index = 0; index < pieces; index += 1) {
    signal.throwIfAborted();
    await whole(piece, (from) => file.read(piece, from).then(({ bytesRead }) => bytesRead));
    onBytes(piece.length);
  }
  return { rate: rateOf(pieces, startedAt), readsDisk };
}

/** Not every file system lets itself be read so: tmpfs had it only lately, and some of FUSE have not. */
async function openPastCache(path: string): Promise<{ file: FileHandle; readsDisk: boolean }> {
  if (constants.O_DIRECT !== undefined) {
    try {
      return { file: await open(path, constants.O_RDONLY | constants.O_DIRECT), readsDisk: true };
    } catch (error) {
      if (!hasSystemCode(error, "EINVAL", "ENOTSUP", "EOPNOTSUPP")) throw error;
    }
  }
  return { file: await open(path, "r"), readsDisk: false };
}

async function whole(piece: Buffer, step: (from: number) => Promise<number>): Promise<void> {
  for (let done = 0; done < piece.length; ) {
    const count = await step(done);
    if (count === 0) throw new Error("The file is shorter than what was written to it.");
    done += count;
  }
}

async function syncs(path: string, signal: AbortSignal): Promise<Latency> {
  await using file = await open(path, "wx");
  const small = Buffer.alloc(SMALL, 1);
  return await latency(TIMES.sync, signal, async () => async () => {
    await file.write(small);
    await file.datasync();
  });
}

/** Of what `prepare` gives, each time. */
async function latency(
  times: number,
  signal: AbortSignal,
  prepare: (count: number) => Promise<() => Promise<void>>,
): Promise<Latency> {
  const all: number[] = [];
  for (let count = 0; count < times; count += 1) {
    signal.throwIfAborted();
    const work = await prepare(count);
    const startedAt = performance.now();
    await work();
    all.push(performance.now() - startedAt);
  }
  const sorted = all.toSorted((a, b) => a - b);
  return { median: sorted[Math.floor(times / 2)] ?? 0, worst: sorted.at(-1) ?? 0 };
}

function rateOf(pieces: number, startedAt: number): number {
  return (pieces * PIECE) / ((performance.now() - startedAt) / 1000);
}
