import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  linkSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { expect, it, onTestFinished } from "vitest";
import type { Digest } from "../../src/model.ts";
import { commitPartial, PartialFile, partialBytes } from "../../src/store/partial-file.ts";
import { type Range, totalBytes } from "../../src/store/ranges.ts";
import { mountThinDisk } from "./mount.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const content = randomBytes(10_000);
const digest: Digest = { algorithm: "sha256", hex: createHash("sha256").update(content).digest("hex") };
const base = `sha256-${digest.hex}`;

function open(folder: string, of = digest, size = content.length): PartialFile {
  const partial = PartialFile.open(folder, of, size);
  onTestFinished(() => {
    try {
      partial.close();
    } catch {
      // The test closed it.
    }
  });
  return partial;
}

function put(partial: PartialFile, range: Range): void {
  partial.write(content.subarray(range.start, range.end), range.start);
  partial.note(range);
}

function fill(folder: string, ...ranges: Range[]): void {
  const partial = open(folder);
  for (const range of ranges) put(partial, range);
  partial.close();
}

it("keeps what was written, at its place, for the next process", () => {
  const folder = temporaryFolder();
  const first = open(folder);
  expect(first.done).toEqual([]);
  put(first, { start: 5000, end: 6000 });
  put(first, { start: 0, end: 1000 });
  put(first, { start: 1000, end: 1500 });
  first.close();

  const next = open(folder);
  expect(next.done).toEqual([
    { start: 0, end: 1500 },
    { start: 5000, end: 6000 },
  ]);
  const bytes = readFileSync(next.path);
  expect(bytes.length).toBe(content.length);
  for (const { start, end } of next.done) {
    expect(bytes.subarray(start, end).equals(content.subarray(start, end))).toBe(true);
  }
  expect(partialBytes(folder, digest, content.length)).toBe(2500);
});

it("does not count what was written and not noted", () => {
  const folder = temporaryFolder();
  const partial = open(folder);
  partial.write(content.subarray(0, 3000), 0);
  partial.close();
  expect(open(folder).done).toEqual([]);
});

it("never believes more than was noted, wherever the journal is torn, and goes on from there", () => {
  const whole = temporaryFolder();
  const noted = [
    { start: 0, end: 1100 },
    { start: 2000, end: 3456 },
    { start: 9000, end: 10_000 },
  ];
  fill(whole, ...noted);
  const journal = readFileSync(join(whole, `${base}.journal`));
  const lines = journal.toString().split("\n").slice(0, -1);
  for (let length = 0; length <= journal.length; length += 1) {
    const folder = temporaryFolder();
    fill(folder, ...noted);
    truncateSync(join(folder, `${base}.journal`), length);
    // As many ranges as whole lines are left after the header.
    const lineCount = journal.subarray(0, length).toString().split("\n").length - 1;
    const expected = lineCount === 0 ? [] : noted.slice(0, lineCount - 1);
    const torn = open(folder);
    expect(torn.done, `torn after ${length} bytes: ${lines[lineCount]}`).toEqual(expected);

    put(torn, { start: 4000, end: 5000 });
    torn.close();
    const after = open(folder);
    expect(withoutOverlap(after.done, [...noted, { start: 4000, end: 5000 }])).toBe(true);
    expect(totalBytes(after.done)).toBeGreaterThanOrEqual(totalBytes(expected));
    after.close();
  }
});

it("reads any journal without believing in ranges outside the file", () => {
  const folder = temporaryFolder();
  fill(folder);
  const path = join(folder, `${base}.journal`);
  const header = readFileSync(path, "utf8");
  const line = fc.oneof(
    fc.string(),
    fc.tuple(fc.integer(), fc.integer()).map(([a, b]) => `${a} ${b}`),
  );
  fc.assert(
    fc.property(fc.array(line), (garbage) => {
      writeFileSync(path, `${header}${garbage.join("\n")}\n`);
      const partial = PartialFile.open(folder, digest, content.length);
      partial.close();
      expect(withoutOverlap(partial.done, [{ start: 0, end: content.length }])).toBe(true);
    }),
    { numRuns: 50 },
  );
});

it("begins anew where the journal is of another file or size", () => {
  for (const header of [
    `muster-journal 1 sha256:${"0".repeat(64)} ${content.length}\n`,
    `muster-journal 1 sha256:${digest.hex} ${content.length + 1}\n`,
    `muster-journal 1 sha256:${digest.hex} ${content.length}0\n`,
    `muster-journal 2 sha256:${digest.hex} ${content.length}\n`,
    "",
  ]) {
    const folder = temporaryFolder();
    fill(folder, { start: 0, end: 4000 });
    writeFileSync(join(folder, `${base}.journal`), `${header}0 4000\n`);
    expect(partialBytes(folder, digest, content.length)).toBe(0);
    const partial = open(folder);
    expect(partial.done).toEqual([]);
    expect(readFileSync(partial.path).equals(Buffer.alloc(content.length))).toBe(true);
  }
});

it.each([true, false])("is never another's file, which a kill left there by a hard link (journal: %s)", (journaled) => {
  const folder = temporaryFolder();
  fill(folder, { start: 0, end: 5000 });
  const theirs = join(temporaryFolder(), "theirs");
  writeFileSync(theirs, Buffer.alloc(content.length, 7));
  rmSync(join(folder, `${base}.partial`));
  linkSync(theirs, join(folder, `${base}.partial`));
  const partial = PartialFile.open(folder, digest, content.length, { journaled });
  expect(partial.done).toEqual([]);
  put(partial, { start: 0, end: content.length });
  partial.close();
  expect(readFileSync(theirs).equals(Buffer.alloc(content.length, 7))).toBe(true);
});

it("keeps files of other digests and sizes apart", () => {
  const folder = temporaryFolder();
  fill(folder, { start: 0, end: 4000 });
  const other: Digest = { algorithm: "git-sha1", hex: digest.hex.slice(0, 40) };
  expect(open(folder, other).done).toEqual([]);
  expect(open(folder).done).toEqual([{ start: 0, end: 4000 }]);
});

it("begins anew where the journal is there and the data is not", () => {
  const folder = temporaryFolder();
  fill(folder, { start: 0, end: 4000 });
  rmSync(join(folder, `${base}.partial`));
  expect(partialBytes(folder, digest, content.length)).toBe(0);
  expect(open(folder).done).toEqual([]);
});

it("begins anew where the data is shorter than its journal says", () => {
  const folder = temporaryFolder();
  fill(folder, { start: 0, end: 4000 });
  truncateSync(join(folder, `${base}.partial`), 100);
  expect(open(folder).done).toEqual([]);
});

it("leaves alone at a restart what another has committed meanwhile", async () => {
  const folder = temporaryFolder();
  const partial = open(folder);
  partial.write(content, 0);
  partial.note({ start: 0, end: content.length });
  const target = join(folder, "blob");
  await commitPartial(folder, digest, target);
  partial.restart(digest, content.length);
  partial.write(Buffer.alloc(100, "x"), 0);
  expect(readFileSync(target).equals(content)).toBe(true);
});

it("forgets everything at a restart, and takes notes again", () => {
  const folder = temporaryFolder();
  const partial = open(folder);
  put(partial, { start: 0, end: 4000 });
  partial.restart(digest, content.length);
  expect(partial.done).toEqual([]);
  expect(readFileSync(partial.path).equals(Buffer.alloc(content.length))).toBe(true);
  expect(partialBytes(folder, digest, content.length)).toBe(0);
  put(partial, { start: 100, end: 200 });
  partial.close();
  expect(open(folder).done).toEqual([{ start: 100, end: 200 }]);
});

it("shows nothing under the final name before the commit, and all of it after", async () => {
  const folder = temporaryFolder();
  const target = join(folder, "repo", "blobs", digest.hex);
  const partial = open(join(folder, "ingest"));
  put(partial, { start: 0, end: content.length });
  await partial.sync();
  partial.close();
  expect(existsSync(target)).toBe(false);
  await commitPartial(join(folder, "ingest"), digest, target);
  expect(readFileSync(target).equals(content)).toBe(true);
  expect(statSync(target).mode & 0o777).toBe(0o644);
  expect(readdirSync(join(folder, "ingest"))).toEqual([]);
});

it("replaces what stood under the final name, a link included, without writing through it", async () => {
  const folder = temporaryFolder();
  const shared = join(folder, "shared");
  writeFileSync(shared, "another's", { mode: 0o444 });
  const target = join(folder, "blob");
  symlinkSync(shared, target);
  fill(folder, { start: 0, end: content.length });
  await commitPartial(folder, digest, target);
  expect(readFileSync(shared, "utf8")).toBe("another's");
  expect(readFileSync(target).equals(content)).toBe(true);
});

it("does not forget that the disk failed while it was at work, and is not gone on from", async ({ skip }) => {
  const folder = mountThinDisk({ megabytes: 160, holds: 16 }, skip);
  const size = 72 << 20;
  const partial = open(folder, digest, size);
  const bytes = Buffer.alloc(8 << 20, 1);
  // More than after which the disk is set to work, and then a little that it takes.
  for (let offset = 0; offset < size; offset += bytes.length) {
    partial.write(bytes, offset);
    partial.note({ start: offset, end: offset + bytes.length });
  }
  await expect(partial.sync()).rejects.toMatchObject({ code: "ENOSPC" });
  await expect(partial.sync()).rejects.toMatchObject({ code: "ENOSPC" });
  expect(partialBytes(folder, digest, size)).toBe(0);
});

it("keeps, when the process is killed in the middle of writing, what it had noted", async () => {
  const size = 20_000_000;
  const piece = 16_384;
  const folder = temporaryFolder();
  const fixture = fileURLToPath(new URL("./fixtures/writer-process.ts", import.meta.url));
  let before = 0;
  for (const moment of [3, 40, 160]) {
    const child = spawn(process.execPath, [fixture, folder, JSON.stringify(digest), `${size}`, `${piece}`], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    onTestFinished(() => void child.kill("SIGKILL"));
    let told = 0;
    let ends = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      ends += text;
      told = Number(ends.split("\n").at(-2));
      if (told >= moment * piece) child.kill("SIGKILL");
    });
    const [, signal] = await once(child, "close");
    expect(signal).toBe("SIGKILL");

    const { path, done } = open(folder, digest, size);
    expect(done).toHaveLength(1);
    expect(done[0]!.start).toBe(0);
    expect(done[0]!.end).toBeGreaterThanOrEqual(Math.max(told, before));
    before = done[0]!.end;
    const bytes = readFileSync(path).subarray(0, before);
    expect(bytes.findIndex((byte, index) => byte !== index % 251)).toBe(-1);
  }
});

/** Whether all of the ranges lie within those. */
function withoutOverlap(ranges: readonly Range[], within: Range[]): boolean {
  return ranges.every(({ start, end }) => within.some((outer) => outer.start <= start && end <= outer.end));
}
