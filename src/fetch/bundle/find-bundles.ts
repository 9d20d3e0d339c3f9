import { createReadStream } from "node:fs";
import { open, readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { pipeline, Readable } from "node:stream";
import { createZstdDecompress } from "node:zlib";
import { MusterError } from "../../errors.ts";
import { refused } from "./bundle-manifest.ts";
import { type ByteReader, fileReader, streamReader } from "./byte-reader.ts";
import { type Bundle, openTar } from "./open-bundle.ts";
import { openFolder } from "./open-folder.ts";

const ZSTD = Buffer.from("28b52ffd", "hex");
const PART = /^(.+)\.(\d{3,})$/;
const PIECE = 1 << 20;

/** What a name on the command line means: a bundle each, to be opened one after the other. */
export interface FoundBundle {
  name: string;
  open(): Promise<Bundle>;
}

/**
 * The bundles that are meant: a file, any part of one or the name before its parts, an unpacked one, a folder in which there
 * are some, or `-` for `input`. Parts of one bundle that are named one by one are one. Throws USAGE or BUNDLE_INVALID.
 */
export async function findBundles(names: readonly string[], input: AsyncIterable<Uint8Array>): Promise<FoundBundle[]> {
  const found = new Map<string, FoundBundle>();
  for (const name of names) {
    if (name === "-") found.set(name, { name: "standard input", open: () => openStream("standard input", input) });
    else for (const bundle of await bundlesAt(name)) found.set(bundle.name, bundle);
  }
  return [...found.values()];
}

async function bundlesAt(path: string): Promise<FoundBundle[]> {
  const found = await stat(path).catch(() => null);
  if (found?.isDirectory()) return bundlesIn(path);
  const whole = PART.exec(basename(path)) ? join(dirname(path), PART.exec(basename(path))?.[1] ?? "") : path;
  if (found && whole === path) return [{ name: path, open: () => openFiles(path, [path]) }];
  const parts = await partsOf(whole);
  if (parts.length > 0) return [{ name: whole, open: () => openFiles(whole, parts) }];
  throw new MusterError("USAGE", `There is no bundle ${path}.`, {
    hint: "Name a file that `muster export` has written (of one in parts, any part), a folder with such, or - for standard input.",
  });
}

async function bundlesIn(folder: string): Promise<FoundBundle[]> {
  const unpacked = await openFolder(folder);
  if (unpacked) return [{ name: folder, open: async () => unpacked }];
  const names = (await readdir(folder)).filter((name) => /\.tar(\.zst)?(\.\d{3,})?$/.test(name)).toSorted();
  if (names.length === 0) throw refused(folder, "no bundle is in it");
  const wholes = new Set(names.map((name) => PART.exec(name)?.[1] ?? name));
  return (await Promise.all([...wholes].map((name) => bundlesAt(join(folder, name))))).flat();
}

/** In order, from the first on. Throws BUNDLE_INVALID where one is missing, or is shorter than those before the last. */
async function partsOf(whole: string): Promise<string[]> {
  const names = await readdir(dirname(whole)).catch(() => []);
  const parts = names
    .flatMap((name) => {
      const [, base, number] = PART.exec(name) ?? [];
      return base === basename(whole) ? [{ path: join(dirname(whole), name), number: Number(number) }] : [];
    })
    .toSorted((a, b) => a.number - b.number);
  for (const [index, { number }] of parts.entries()) {
    if (number !== index) throw partWrong(whole, index, "is missing");
  }
  const sizes = await Promise.all(parts.map(async ({ path }) => (await stat(path)).size));
  for (const [index, size] of sizes.slice(0, -1).entries()) {
    if (size !== Math.max(...sizes))
      throw partWrong(whole, index, "is not as long as others, so that it was cut short");
  }
  return parts.map(({ path }) => path);
}

function partWrong(whole: string, index: number, what: string): MusterError {
  return new MusterError("BUNDLE_INVALID", `${whole}: part ${String(index).padStart(3, "0")} ${what}.`, {
    hint: "Copy that part here once more, beside the others, and run the same `muster import` again.",
  });
}

async function openFiles(name: string, paths: readonly string[]): Promise<Bundle> {
  const isPacked = await startsWith(paths[0] ?? "", ZSTD);
  const reader = isPacked ? streamReader(name, unpack(filesInOrder(paths))) : await fileReader(name, paths);
  return opened(reader);
}

async function openStream(name: string, input: AsyncIterable<Uint8Array>): Promise<Bundle> {
  const source = input[Symbol.asyncIterator]();
  const first: Uint8Array[] = [];
  let length = 0;
  while (length < ZSTD.length) {
    const { value, done } = await source.next();
    if (done) break;
    first.push(value);
    length += value.length;
  }
  const begin = Buffer.concat(first);
  async function* all() {
    yield begin;
    for (let step = await source.next(); !step.done; step = await source.next()) yield step.value;
  }
  return opened(streamReader(name, begin.subarray(0, ZSTD.length).equals(ZSTD) ? unpack(all()) : all()));
}

async function opened(reader: ByteReader): Promise<Bundle> {
  try {
    return await openTar(reader);
  } catch (error) {
    await reader[Symbol.asyncDispose]();
    throw error;
  }
}

async function* filesInOrder(paths: readonly string[]): AsyncGenerator<Buffer> {
  for (const path of paths) yield* createReadStream(path, { highWaterMark: PIECE });
}

/** Several frames one after the other are one stream. */
async function* unpack(packed: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const unpacked = createZstdDecompress({ chunkSize: PIECE });
  pipeline(Readable.from(packed, { objectMode: false, highWaterMark: PIECE }), unpacked, () => undefined);
  yield* unpacked;
}

async function startsWith(path: string, begin: Buffer): Promise<boolean> {
  await using file = await open(path, "r");
  const { buffer, bytesRead } = await file.read(Buffer.alloc(begin.length), 0, begin.length, 0);
  return bytesRead === begin.length && buffer.equals(begin);
}
