import { readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { hasSystemCode } from "../../errors.ts";
import { hasSize } from "../../store/has-size.ts";
import { syncFolder } from "../../store/partial-file.ts";
import { type BundlePlan, contentAt, contentBytesBefore, fileIdentity, readPlan } from "./bundle-plan.ts";
import { ExportJournal, type ExportPoint, NO_IDENTITY } from "./export-journal.ts";
import { inWorkFolder } from "./export-lease.ts";
import { type ExportOptions, type ExportResult, targetBudget, targetError } from "./export-options.ts";
import { findBundles } from "./find-bundles.ts";
import { Packer } from "./packer.ts";
import { PartFiles } from "./part-files.ts";

/** Bytes between two points from which a killed export can go on. */
const POINT_BYTES = 64 << 20;

export interface FileTarget {
  path: string;
  /** Bytes of a part; null for one file. */
  partSize: number | null;
  zstd: boolean;
  /** Asked where other files have those names: whether they may be replaced. Throws where nobody can be asked. */
  mayReplace(files: readonly string[]): Promise<boolean>;
  /** Bytes between two points; the usual ones where it is left out. */
  pointBytes?: number;
}

/**
 * Writes the bundle to a file, or to parts of one, beside which it is put together: its names are given when all of it is on
 * the disk. After a kill the same export goes on. Null where it must not replace what is there. Throws MusterError.
 */
export async function exportFile(
  plan: BundlePlan,
  target: FileTarget,
  options: ExportOptions,
): Promise<ExportResult | null> {
  const { path, partSize, zstd } = target;
  const folder = join(dirname(path), `.muster-export-${basename(path)}`);
  try {
    return await inWorkFolder(folder, options, async (signal) => {
      const journalPath = join(folder, "journal");
      const journal = await ExportJournal.open(journalPath, `${plan.id} ${plan.bytes} ${partSize ?? "one"} ${zstd}`);
      await using parts = new PartFiles(folder, partSize ?? Number.POSITIVE_INFINITY);
      const work: Writing = { target, journal, parts };
      const isWhole = await isAllWritten(plan, work);
      const before = await bundleFiles(path);
      if (!isWhole && before.length > 0) {
        if (await isSame(plan, target, before)) {
          await clear(folder);
          options.onPlan(plan.contentBytes);
          return { files: before, bytes: await sizeOfAll(before), writtenBytes: 0 };
        }
        if (!(await target.mayReplace(before))) return null;
      }
      const writtenBytes = isWhole ? 0 : await write(plan, work, { ...options, signal });
      signal.throwIfAborted();
      const files = await giveNames(plan, work);
      await clear(folder);
      return { files, bytes: await sizeOfAll(files), writtenBytes };
    });
  } catch (error) {
    throw targetError(error, path);
  }
}

interface Writing {
  target: FileTarget;
  journal: ExportJournal;
  parts: PartFiles;
}

async function write(plan: BundlePlan, { target, journal, parts }: Writing, options: ExportOptions): Promise<number> {
  const { signal, onBytes } = options;
  const { zstd, partSize, path, pointBytes = POINT_BYTES } = target;
  const point = await lastPoint(plan, journal, parts, partSize);
  await journal.goBack(point);
  await parts.goOn(point?.written ?? 0);
  const from = point?.tar ?? 0;
  // What it will be packed to nobody knows.
  if (!zstd) (await targetBudget().reserve(dirname(path), plan.bytes - from, "The bundle")).release();
  options.onPlan(contentBytesBefore(plan, from));
  const packer = zstd ? new Packer((bytes) => parts.write(bytes)) : null;
  let position = from;
  let noted = from;
  for await (const { bytes, isContent, identity } of readPlan(plan, from, signal)) {
    await (packer ?? parts).write(bytes);
    position += bytes.length;
    if (isContent) onBytes(bytes.length);
    if (position - noted < pointBytes) continue;
    await packer?.flush();
    await parts.sync();
    await journal.note({ tar: position, written: parts.position, identity: identity ?? NO_IDENTITY });
    noted = position;
  }
  await packer?.flush();
  await parts.sync();
  const written = parts.position - (point?.written ?? 0);
  await journal.noteWhole(parts.count);
  return written;
}

/** The last point that holds: its bytes are there, and what they were read from is still the same file. */
async function lastPoint(
  plan: BundlePlan,
  { points }: ExportJournal,
  parts: PartFiles,
  partSize: number | null,
): Promise<ExportPoint | null> {
  for (const point of points.toReversed()) {
    const content = contentAt(plan, point.tar);
    const isBegun = content !== null && content.start < point.tar;
    if (isBegun && (await fileIdentity(content.path)) !== point.identity) continue;
    if (await isThere(point.written, parts, partSize)) return point;
  }
  return null;
}

async function isThere(bytes: number, parts: PartFiles, partSize: number | null): Promise<boolean> {
  const full = partSize === null ? 0 : Math.floor(bytes / partSize);
  for (let index = 0; index < full; index += 1) if (!(await hasSize(parts.path(index), partSize ?? 0))) return false;
  const rest = bytes - full * (partSize ?? 0);
  return rest === 0 || ((await stat(parts.path(full)).catch(() => null))?.size ?? 0) >= rest;
}

/** All being on the disk. May be begun again after a kill: what has no unfinished file any more has its name. */
async function giveNames(plan: BundlePlan, { target, journal, parts }: Writing): Promise<string[]> {
  const { path } = target;
  await parts[Symbol.asyncDispose]();
  const names = namesOf(plan, target, journal.whole ?? 1);
  for (const [index, name] of names.entries()) {
    await rename(parts.path(index), name).catch((error: unknown) => {
      if (!hasSystemCode(error, "ENOENT")) throw error;
    });
  }
  // Of a bundle that had these names before; `cat` would take them for parts of this one.
  for (const stale of await bundleFiles(path)) if (!names.includes(stale)) await rm(stale, { force: true });
  await syncFolder(dirname(path));
  return names;
}

/** A run before this one has come so far, and nobody has taken away anything since. */
async function isAllWritten(plan: BundlePlan, { target, journal, parts }: Writing): Promise<boolean> {
  if (journal.whole === null) return false;
  for (const [index, name] of namesOf(plan, target, journal.whole).entries()) {
    const found = (await stat(parts.path(index)).catch(() => null)) ?? (await stat(name).catch(() => null));
    if (found === null) return false;
  }
  return true;
}

function namesOf(plan: BundlePlan, { path, partSize }: FileTarget, count: number): string[] {
  if (partSize === null) return [path];
  // As many digits for all, so that a shell gives them to `cat` in order; packed it may become larger by a little.
  const digits = Math.max(3, String(Math.ceil((plan.bytes * 1.01 + 4096) / partSize)).length);
  return Array.from({ length: count }, (_, index) => `${path}.${String(index).padStart(digits, "0")}`);
}

/** What is there under the bundle's name: a file, or parts. */
async function bundleFiles(path: string): Promise<string[]> {
  const names = await readdir(dirname(path)).catch(() => []);
  const rest = (name: string) => (name.startsWith(basename(path)) ? name.slice(basename(path).length) : null);
  return names
    .filter((name) => /^(\.\d{3,})?$/.test(rest(name) ?? "no"))
    .toSorted()
    .map((name) => join(dirname(path), name));
}

/** Whether the same bundle is there in the same form, whole. */
async function isSame(
  plan: BundlePlan,
  { path, partSize, zstd }: FileTarget,
  files: readonly string[],
): Promise<boolean> {
  if ((partSize === null) !== files.includes(path)) return false;
  const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size));
  if (partSize !== null && sizes.slice(0, -1).some((size) => size !== partSize)) return false;
  if (!zstd) return sum(sizes) === plan.bytes && (await idOf(path)) === plan.id;
  return sum(sizes) !== plan.bytes && (await idOf(path)) === plan.id;
}

async function idOf(path: string): Promise<string | null> {
  try {
    const [found] = await findBundles([path], process.stdin);
    await using bundle = await found?.open();
    return bundle?.id ?? null;
  } catch {
    return null;
  }
}

/** What an export has left that is over. The folder itself goes with its lease. */
async function clear(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name !== "lease");
  // Its journal last: parts without one are worth nothing.
  for (const name of names.toSorted((a, b) => Number(a === "journal") - Number(b === "journal")))
    await rm(join(folder, name), { force: true });
}

async function sizeOfAll(files: readonly string[]): Promise<number> {
  return sum(await Promise.all(files.map(async (file) => (await stat(file)).size)));
}

function sum(counts: readonly number[]): number {
  return counts.reduce((all, count) => all + count, 0);
}
