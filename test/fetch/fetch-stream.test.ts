import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { beforeEach, expect, it, onTestFinished } from "vitest";
import { MusterError } from "../../src/errors.ts";
import { fetchStream } from "../../src/fetch/fetch-stream.ts";
import { Lanes } from "../../src/fetch/transfer/lanes.ts";
import type { FileSpec } from "../../src/model.ts";
import { partialPath } from "../../src/store/partial-file.ts";
import type { Range } from "../../src/store/ranges.ts";
import { seededBytes } from "../fakes/tiny-models.ts";
import { temporaryFolder } from "../store/temporary-folder.ts";

const MIB = 1 << 20;
const content = seededBytes(40 * MIB + 11, 7);
const hex = createHash("sha256").update(content).digest("hex");
const file: FileSpec = { path: "model.bin", size: content.length, digest: { algorithm: "sha256", hex } };

let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
});

/** Runs it over a stream that is made of the ranges asked for. */
async function bring(
  read: (range: Range) => AsyncIterable<Uint8Array>,
  signal = new AbortController().signal,
  bandwidth: number | null = null,
) {
  const lanes = new Lanes({ connections: 1, stallTimeoutMs: 60_000, userAgent: "", verify: true, bandwidth });
  onTestFinished(() => lanes.close());
  let bytes = 0;
  const asked: Range[] = [];
  const onBytes = (count: number) => {
    bytes += count;
  };
  const stream = {
    name: "a stream",
    read: (range: Range) => {
      asked.push(range);
      return read(range);
    },
  };
  const work = fetchStream({ stream, name: "it", file, folder }, lanes, { signal, onBytes, onNote: () => undefined });
  const error = await work.then(
    () => null,
    (cause: unknown) => cause as MusterError,
  );
  return { error, asked, bytes };
}

async function* part({ start, end }: Range, source = content): AsyncGenerator<Uint8Array> {
  for (let at = start; at < end; at += 100_000) yield source.subarray(at, Math.min(end, at + 100_000));
}

const broken = () => new MusterError("FILE_NOT_FOUND", "It is gone.", { hint: "None." });

it("asks for pieces, so that no stream has to keep much", async () => {
  const { error, asked, bytes } = await bring((range) => part(range));
  expect([error, bytes]).toEqual([null, content.length]);
  expect(Math.max(...asked.map(({ start, end }) => end - start))).toBe(16 * MIB);
  expect(readFileSync(partialPath(folder, file.digest)).equals(content)).toBe(true);
});

it("keeps to the bandwidth", async () => {
  const startedAt = performance.now();
  const { error } = await bring((range) => part(range), undefined, 2 * content.length);
  expect(error).toBeNull();
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(500);
});

it("goes on where an earlier try ended", async () => {
  const first = await bring(async function* ({ start }) {
    yield* part({ start, end: start + 5 * MIB });
    throw broken();
  });
  expect([first.error?.code, first.bytes]).toEqual(["FILE_NOT_FOUND", 5 * MIB]);
  const second = await bring((range) => part(range));
  expect(second.asked[0]?.start).toBe(5 * MIB);
  expect([second.error, second.bytes]).toEqual([null, content.length - 5 * MIB]);
});

it("drops what comes with another digest, and begins anew then", async () => {
  const other = Buffer.alloc(content.length);
  const { error, bytes } = await bring((range) => part(range, other));
  expect([error?.code, bytes]).toEqual(["DIGEST_MISMATCH", 0]);
  expect((await bring((range) => part(range))).error).toBeNull();
});

it("takes no more bytes than it asked for", async () => {
  const ahead = seededBytes(60 * MIB, 8);
  const { error } = await bring(({ start }) => part({ start, end: start + 17 * MIB }, ahead));
  expect(error).toMatchObject({ code: "RESPONSE_INVALID", message: expect.stringContaining("more bytes of it") });
});

it("ends with the reason of the signal", async () => {
  const cancel = new AbortController();
  const reason = new Error("enough");
  const { error } = await bring(async function* (range) {
    for await (const bytes of part(range)) {
      yield bytes;
      cancel.abort(reason);
    }
  }, cancel.signal);
  expect(error).toBe(reason);
});
