import { execFile } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { zstdDecompressSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type BundlePlan, planBundle, readPlan } from "../../../src/fetch/bundle/bundle-plan.ts";
import { exportFile, type FileTarget } from "../../../src/fetch/bundle/export-file.ts";
import { exportFolder } from "../../../src/fetch/bundle/export-folder.ts";
import { PartFiles } from "../../../src/fetch/bundle/part-files.ts";
import type { StoredModel } from "../../../src/model.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";
import { openTransfer, type Transfer } from "../sync-context.ts";
import { fillVolume } from "./tiny-volume.ts";

const MIB = 1 << 20;
const BYTES = 3 * MIB;
const fixture = fileURLToPath(new URL("./fixtures/export-process.ts", import.meta.url));
const signal = new AbortController().signal;

let transfer: Transfer;
let volume: string;
let models: StoredModel[];
let plan: BundlePlan;
let whole: Buffer;
beforeAll(async () => {
  transfer = openTransfer({ endpoint: "", volume: "" });
  volume = mkdtempSync(join(tmpdir(), "muster-test-"));
  models = await fillVolume(volume, transfer, BYTES);
  plan = planBundle(models);
  const pieces = [];
  for await (const { bytes } of readPlan(plan, 0, signal)) pieces.push(bytes);
  whole = Buffer.concat(pieces);
});
afterAll(async () => {
  rmSync(volume, { recursive: true, force: true });
  await transfer[Symbol.asyncDispose]();
});

async function run(target: FileTarget) {
  let counted = 0;
  let present = -1;
  const result = await exportFile(plan, target, {
    signal,
    onNote: () => undefined,
    onPlan(bytes) {
      present = bytes;
    },
    onBytes(count) {
      counted += count;
    },
  });
  return { result, counted, present };
}

/** An export that a SIGKILL ends when so many bytes of contents are written. */
async function killed(path: string, killAfter: number, { partSize = null as number | null, zstd = false } = {}) {
  const input = { volume, path, partSize, zstd, killAfter, pointBytes: 256 << 10 };
  const end = await promisify(execFile)(process.execPath, [fixture, JSON.stringify(input)]).catch(
    (error: unknown) => error,
  );
  expect(end).toMatchObject({ signal: "SIGKILL" });
}

const target = (path: string, more: Partial<FileTarget> = {}): FileTarget => {
  return { path, partSize: null, zstd: false, pointBytes: 256 << 10, mayReplace: async () => false, ...more };
};

const joined = (path: string) => {
  const [folder, name] = [join(path, ".."), path.split("/").at(-1)!];
  const names = readdirSync(folder)
    .filter((each) => each.startsWith(name))
    .toSorted();
  return Buffer.concat(names.map((each) => readFileSync(join(folder, each))));
};

describe("the plan", () => {
  it("gives the same bytes from anywhere on", async () => {
    expect(whole.length).toBe(plan.bytes);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: plan.bytes - 1 }), async (from) => {
        const pieces = [];
        for await (const { bytes } of readPlan(plan, from, signal)) pieces.push(bytes);
        expect(Buffer.concat(pieces).equals(whole.subarray(from))).toBe(true);
      }),
      { numRuns: 25, examples: [[0], [511], [512], [plan.bytes - 1], [plan.bytes - 1025]] },
    );
  });
});

describe("an export that is killed", () => {
  it.each([
    ["a file", null],
    ["parts", 1_000_000],
  ])("goes on where it was, into %s of the same bytes", async (_what, partSize) => {
    const path = join(temporaryFolder(), "bundle.tar");
    await killed(path, 4 * MIB, { partSize });
    expect(existsSync(path)).toBe(false);
    await killed(path, 2 * MIB, { partSize });
    const { result, counted, present } = await run(target(path, { partSize }));
    expect(joined(path).equals(whole)).toBe(true);
    expect(present).toBeGreaterThanOrEqual(4 * MIB);
    expect(counted + present).toBe(plan.contentBytes);
    expect(result?.writtenBytes).toBeLessThanOrEqual(plan.bytes - 4 * MIB);
    expect(readdirSync(join(path, "..")).filter((name) => name.startsWith("."))).toEqual([]);
  });

  it("packed, too", async () => {
    const path = join(temporaryFolder(), "bundle.tar.zst");
    await killed(path, 4 * MIB, { zstd: true });
    const { present } = await run(target(path, { zstd: true }));
    expect(present).toBeGreaterThan(3 * MIB);
    expect(zstdDecompressSync(readFileSync(path)).equals(whole)).toBe(true);
  });

  it("does not believe what was read from a file that is another one now", async () => {
    const path = join(temporaryFolder(), "bundle.tar");
    const content = plan.contents.find(({ file }) => file.size === BYTES)!;
    const before = plan.contents
      .filter(({ end }) => end <= content.start)
      .reduce((sum, { file }) => sum + file.size, 0);
    await killed(path, before + 2 * MIB);
    const bytes = readFileSync(content.path);
    rmSync(content.path);
    writeFileSync(content.path, bytes);
    utimesSync(content.path, 1, 1);
    const { present } = await run(target(path));
    expect(present).toBeLessThanOrEqual(before);
    expect(joined(path).equals(whole)).toBe(true);
  });

  it("begins anew for other models, other parts, or where its files are gone", async () => {
    const path = join(temporaryFolder(), "bundle.tar");
    await killed(path, 4 * MIB);
    expect((await run(target(path, { partSize: 1_000_000 }))).present).toBe(0);
    expect(joined(path).equals(whole)).toBe(true);
    const other = join(temporaryFolder(), "bundle.tar");
    await killed(other, 4 * MIB);
    const folder = join(other, "..", ".muster-export-bundle.tar");
    rmSync(join(folder, "part-0"));
    expect((await run(target(other))).present).toBe(0);
    expect(joined(other).equals(whole)).toBe(true);
  });

  it("while it gave parts their names gives the others theirs", async () => {
    const path = join(temporaryFolder(), "bundle.tar");
    await run(target(path, { partSize: 1_000_000 }));
    const folder = join(path, "..");
    const work = join(folder, ".muster-export-bundle.tar");
    const names = readdirSync(folder).toSorted();
    mkdirSync(work);
    for (const index of [3, 4]) renameSync(join(folder, names[index]!), join(work, `part-${index}`));
    writeFileSync(
      join(work, "journal"),
      `muster-export 1 ${plan.id} ${plan.bytes} 1000000 false\nwhole ${names.length}\n`,
    );
    expect((await run(target(path, { partSize: 1_000_000 }))).result?.writtenBytes).toBe(0);
    expect(readdirSync(folder).toSorted()).toEqual(names);
    expect(joined(path).equals(whole)).toBe(true);
  });
});

it("what has the names is replaced only where it may be, and then none of it stays", async () => {
  const path = join(temporaryFolder(), "bundle.tar");
  for (const name of ["", ".000", ".0077"]) writeFileSync(`${path}${name}`, "of somebody");
  expect((await run(target(path))).result).toBeNull();
  expect(readFileSync(path, "utf8")).toBe("of somebody");
  await run(target(path, { mayReplace: async () => true }));
  expect(readdirSync(join(path, ".."))).toEqual(["bundle.tar"]);
  expect(joined(path).equals(whole)).toBe(true);
});

it("a folder that is filled goes on in the middle of a file", async () => {
  const folder = temporaryFolder();
  const stop = new AbortController();
  let written = 0;
  const options = { signal: stop.signal, onPlan: () => undefined, onNote: () => undefined };
  const first = exportFolder(plan, folder, {
    ...options,
    onBytes(count) {
      written += count;
      if (written > 4 * MIB) stop.abort();
    },
  });
  await expect(first).rejects.toThrow();
  expect(existsSync(join(folder, "muster-bundle.json"))).toBe(false);
  let rest = 0;
  const onBytes = (count: number) => {
    rest += count;
  };
  await exportFolder(plan, folder, { ...options, signal, onBytes });
  expect(rest + written).toBe(plan.contentBytes);
  for (const { name, path } of plan.contents)
    expect(readFileSync(join(folder, name)).equals(readFileSync(path))).toBe(true);
});

it("parts of any length hold what was written in pieces of any length, from wherever it was gone on", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 700 }),
      fc.array(fc.record({ bytes: fc.uint8Array({ minLength: 1, maxLength: 900 }), back: fc.nat(1200) }), {
        minLength: 1,
        maxLength: 8,
      }),
      async (partSize, steps) => {
        const folder = temporaryFolder();
        let expected = Buffer.alloc(0);
        for (const { bytes, back } of steps) {
          await using parts = new PartFiles(folder, partSize);
          expected = expected.subarray(0, Math.max(0, expected.length - back));
          await parts.goOn(expected.length);
          await parts.write(bytes);
          await parts.sync();
          expected = Buffer.concat([expected, bytes]);
          const files = Array.from({ length: parts.count }, (_, index) => readFileSync(parts.path(index)));
          expect(Buffer.concat(files).equals(expected)).toBe(true);
          expect(files.slice(0, -1).every(({ length }) => length === partSize)).toBe(true);
          expect(readdirSync(folder)).toHaveLength(parts.count);
        }
      },
    ),
    { numRuns: 40 },
  );
});
