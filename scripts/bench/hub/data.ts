import { createCipheriv, createHash, randomBytes } from "node:crypto";
import { mkdir, open, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Files of random bytes, each with other bytes, that are a repository of the bench's hub. */
export interface DataSet {
  /** Also the name of the repository: bench/NAME. */
  name: string;
  files: { path: string; size: number }[];
}

/** A set on disk. */
export interface MadeSet {
  name: string;
  folder: string;
  files: MadeFile[];
  bytes: number;
}

export interface MadeFile {
  path: string;
  size: number;
  sha256: string;
}

const PIECE = Buffer.alloc(4 << 20);

/** Makes the set below `parent`, or takes it from there where an earlier run has made it. */
export async function makeData(set: DataSet, parent: string, signal: AbortSignal): Promise<MadeSet> {
  const folder = join(parent, set.name);
  // Written last: with it the set is whole.
  const list = join(folder, ".made.json");
  const bytes = set.files.reduce((sum, { size }) => sum + size, 0);
  const known = JSON.parse(await readFile(list, "utf8").catch(() => "[]")) as MadeFile[];
  const wanted = set.files.map(({ path, size }) => `${path} ${size}`).join();
  if (known.map(({ path, size }) => `${path} ${size}`).join() === wanted)
    return { name: set.name, folder, files: known, bytes };
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const files: MadeFile[] = [];
  for (const { path, size } of set.files) {
    signal.throwIfAborted();
    files.push({ path, size, sha256: await writeRandom(join(folder, path), size, signal) });
  }
  await writeFile(list, JSON.stringify(files));
  return { name: set.name, folder, files, bytes };
}

/** The key stream of a cipher: as random as a download has to be, and gigabytes a second. */
async function writeRandom(path: string, size: number, signal: AbortSignal): Promise<string> {
  const cipher = createCipheriv("aes-128-ctr", randomBytes(16), randomBytes(16));
  const digest = createHash("sha256");
  await using file = await open(path, "w");
  for (let written = 0; written < size; ) {
    signal.throwIfAborted();
    const piece = cipher.update(PIECE.subarray(0, Math.min(PIECE.length, size - written)));
    digest.update(piece);
    await file.writeFile(piece);
    written += piece.length;
  }
  return digest.digest("hex");
}
