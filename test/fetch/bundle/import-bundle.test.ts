import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { toMusterError } from "../../../src/errors.ts";
import { planBundle, readPlan } from "../../../src/fetch/bundle/bundle-plan.ts";
import { findBundles } from "../../../src/fetch/bundle/find-bundles.ts";
import { importBundle } from "../../../src/fetch/bundle/import-bundle.ts";
import { planImport } from "../../../src/fetch/bundle/plan-import.ts";
import type { StoredModel } from "../../../src/model.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";
import { openTransfer, syncContext, type Transfer } from "../sync-context.ts";
import { filesBelow, wrongBlobs } from "../volume.ts";
import { fillVolume, rightModels } from "./tiny-volume.ts";

const signal = new AbortController().signal;

let transfer: Transfer;
let volume: string;
let models: StoredModel[];
let whole: Buffer;
let expected: Awaited<ReturnType<typeof rightModels>>;
beforeAll(async () => {
  transfer = openTransfer({ endpoint: "", volume: "" });
  volume = mkdtempSync(join(tmpdir(), "muster-test-"));
  models = await fillVolume(volume, transfer, 300 << 10);
  expected = await rightModels(volume);
  const pieces = [];
  for await (const { bytes } of readPlan(planBundle(models), 0, signal)) pieces.push(bytes);
  whole = Buffer.concat(pieces);
});
afterAll(async () => {
  rmSync(volume, { recursive: true, force: true });
  await transfer[Symbol.asyncDispose]();
});

/** Gives the errors of all kinds. */
async function bring(tar: Buffer, target: string, streamed: boolean): Promise<string[]> {
  const context = {
    ...syncContext({ endpoint: "http://127.0.0.1:9", volume: target, offline: true }, transfer),
    signal,
    update: null,
  };
  const path = join(temporaryFolder(), "bundle.tar");
  writeFileSync(path, tar);
  async function* input() {
    for (let at = 0; at < tar.length; at += 5000) yield tar.subarray(at, at + 5000);
  }
  try {
    const [found] = await findBundles([streamed ? "-" : path], input());
    await using bundle = await found!.open();
    const plan = await planImport(bundle, context);
    const outcomes = await importBundle(bundle, plan, context, { onBytes: () => undefined, onNote: () => undefined });
    return outcomes.flatMap(({ error }) => (error ? [`${error.code}: ${error.message}`] : []));
  } catch (error) {
    const { code, message } = toMusterError(error);
    return [`${code}: ${message}`];
  }
}

/** What may happen to bytes on their way. */
const damage = fc.oneof(
  fc.record({ kind: fc.constant("flip" as const), at: fc.nat(), bit: fc.nat(7) }),
  fc.record({ kind: fc.constant("cut" as const), at: fc.nat() }),
  fc.record({ kind: fc.constant("lose" as const), at: fc.nat(), length: fc.integer({ min: 1, max: 5000 }) }),
  fc.record({ kind: fc.constant("repeat" as const), at: fc.nat(), length: fc.integer({ min: 1, max: 5000 }) }),
  fc.record({ kind: fc.constant("zero" as const), at: fc.nat(), length: fc.integer({ min: 1, max: 5000 }) }),
);

function damaged(bytes: Buffer, { at, ...what }: typeof damage extends fc.Arbitrary<infer T> ? T : never): Buffer {
  const place = at % bytes.length;
  if (what.kind === "cut") return bytes.subarray(0, place);
  if (what.kind === "flip") {
    const copy = Buffer.from(bytes);
    copy[place]! ^= 1 << what.bit;
    return copy;
  }
  const { kind, length } = what;
  const [before, piece, after] = [
    bytes.subarray(0, place),
    bytes.subarray(place, place + length),
    bytes.subarray(place + length),
  ];
  const middle = kind === "lose" ? [] : kind === "repeat" ? [piece, piece] : [Buffer.alloc(piece.length)];
  return Buffer.concat([before, ...middle, after]);
}

describe("a bundle that was damaged anyhow", () => {
  it("never makes a wrong model; what is right of it is placed, and the right bundle brings the rest", async () => {
    const headers = fc.nat(6000).map((at) => ({ kind: "flip" as const, at, bit: at % 8 }));
    let placed = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(damage, headers), { minLength: 1, maxLength: 3 }),
        fc.boolean(),
        async (all, streamed) => {
          const target = temporaryFolder();
          const errors = await bring(all.reduce(damaged, whole), target, streamed);
          // Of each that is there all is as it was: names, licence, digests, contents.
          const found = await rightModels(target);
          expect(expected).toEqual(expect.arrayContaining(found));
          expect(found.length === expected.length || errors.length > 0).toBe(true);
          expect(errors.filter((error) => !error.startsWith("BUNDLE_INVALID"))).toEqual([]);
          for (const repo of ["acme--tiny", "acme--twin"])
            expect(wrongBlobs(join(target, `huggingface/hub/models--${repo}`))).toEqual([]);
          placed += found.length;
          expect(await bring(whole, target, streamed)).toEqual([]);
          expect(await rightModels(target)).toEqual(expected);
        },
      ),
      { numRuns: 40, interruptAfterTimeLimit: 40_000, markInterruptAsFailure: false, endOnFailure: true },
    );
    expect(placed).toBeGreaterThan(0);
  });
});

it.each([false, true])("a small file that two models have is written for both (streamed: %s)", async (streamed) => {
  const target = temporaryFolder();
  expect(await bring(whole, target, streamed)).toEqual([]);
  expect(await rightModels(target)).toEqual(expected);
  const below = (folder: string) =>
    filesBelow(folder).filter((path) => !path.startsWith(".muster") && !path.includes("/.muster/"));
  expect(below(target).filter((path) => !path.includes(".locks"))).toEqual(
    below(volume).filter((path) => !path.includes(".locks")),
  );
});

it("into an empty volume all is missing, and just that is written", async () => {
  const [target, path] = [temporaryFolder(), join(temporaryFolder(), "bundle.tar")];
  writeFileSync(path, whole);
  const input = { endpoint: "http://127.0.0.1:9", volume: target, offline: true };
  const context = { ...syncContext(input, transfer), signal, update: null };
  const [found] = await findBundles([path], process.stdin);
  await using bundle = await found!.open();
  const plan = await planImport(bundle, context);
  expect(plan.missingBytes).toBe(plan.bytes);
  const outcomes = await importBundle(bundle, plan, context, { onBytes: () => undefined, onNote: () => undefined });
  expect(outcomes.reduce((sum, { writtenBytes }) => sum + writtenBytes, 0)).toBe(plan.bytes);
  expect(await planImport(bundle, context)).toMatchObject({ bytes: plan.bytes, missingBytes: 0 });
});

it("killed again and again, anywhere, it has whole models only, and goes on in the middle of files", async () => {
  const [target, path] = [temporaryFolder(), join(temporaryFolder(), "bundle.tar")];
  writeFileSync(path, whole);
  let written = 0;
  let kills = 0;
  for (;;) {
    const fixture = fileURLToPath(new URL("./fixtures/import-process.ts", import.meta.url));
    // More than one step of the journal, so that each process gets somewhere; the largest files have a second one.
    const input = JSON.stringify({ volume: target, path, killAfter: 200 << 10 });
    const end = await promisify(execFile)(process.execPath, [fixture, input]).catch((error: unknown) => error);
    expect(expected).toEqual(expect.arrayContaining(await rightModels(target)));
    for (const repo of ["acme--tiny", "acme--twin"])
      expect(wrongBlobs(join(target, `huggingface/hub/models--${repo}`))).toEqual([]);
    if ((end as { signal?: string }).signal === "SIGKILL") kills += 1;
    else {
      written = (JSON.parse((end as { stdout: string }).stdout) as { written: number }).written;
      break;
    }
  }
  expect(kills).toBeGreaterThan(2);
  expect(written).toBeLessThan(200 << 10);
  expect(await rightModels(target)).toEqual(expected);
});

it("leaves a volume that it may not write as it was", async () => {
  const target = temporaryFolder();
  mkdirSync(join(target, "huggingface"));
  writeFileSync(join(target, "huggingface/hub"), "in the way");
  const errors = await bring(whole, target, false);
  expect(errors).toHaveLength(2);
  expect(readdirSync(join(target, "huggingface"))).toEqual(["hub"]);
});
