import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { beforeEach, expect, it } from "vitest";
import { createClaim } from "../../../src/fetch/transfer/claim.ts";
import { ConnectionPool } from "../../../src/fetch/transfer/connection-pool.ts";
import { DigestFeed } from "../../../src/fetch/transfer/digest-feed.ts";
import { localDigester } from "../../../src/fetch/transfer/digesters.ts";
import { fetchRange } from "../../../src/fetch/transfer/fetch-range.ts";
import { createLimits, createPace } from "../../../src/fetch/transfer/limits.ts";
import { SlotPool } from "../../../src/fetch/transfer/slots.ts";
import { PartialFile } from "../../../src/store/partial-file.ts";
import { type Range, totalBytes } from "../../../src/store/ranges.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";
import { until } from "../../until.ts";
import { type FileServer, startFileServer, writeHead } from "./file-server.ts";
import { freeSlots } from "./slots.ts";

const MIB = 1 << 20;
const SLOTS = 4;
const content = randomBytes(2 * MIB);
const hex = createHash("sha256").update(content).digest("hex");
const never = new AbortController().signal;

let slots: SlotPool;
let pool: ConnectionPool;
let partial: PartialFile;
let digest: DigestFeed;
let noted: number;
beforeEach(() => {
  slots = new SlotPool(SLOTS);
  pool = new ConnectionPool({ slots, stallTimeoutMs: 10_000, userAgent: "muster/test" });
  partial = PartialFile.open(temporaryFolder(), { algorithm: "sha256", hex }, content.length);
  digest = new DigestFeed(partial, localDigester({ fd: partial.fd, algorithm: "sha256", size: content.length }));
  noted = 0;
});

function fetchFrom({ url }: FileServer, range: Range, { claim = createClaim(range, 0, 0), signal = never } = {}) {
  const source = {
    ...{ url, authorization: null, signed: false, name: "a file", page: url },
    ...{ size: content.length, direct: null, etag: null },
  };
  const onNoted = (count: number) => {
    noted += count;
  };
  return fetchRange(
    source,
    claim,
    { partial, digest, onReceived: () => undefined, onNoted },
    { pool, limits: createLimits(0, createPace(null)), signal },
  );
}

/** What the digest vouches for is what the disk has. */
async function expectRight(): Promise<void> {
  expect(await digest.finish(content.length)).toBe(hex);
  expect(readFileSync(partial.path).equals(content)).toBe(true);
  expect(noted).toBe(content.length);
}

it("brings a range to its place, noted and digested", async () => {
  const server = await startFileServer(content);
  expect(await fetchFrom(server, { start: MIB, end: content.length })).toBe("done");
  expect(await fetchFrom(server, { start: 0, end: MIB })).toBe("done");
  await expectRight();
});

it("never writes over what is noted, whatever a second connection brings for it", async () => {
  const right = await startFileServer(content);
  const wrong = await startFileServer(Buffer.alloc(content.length, "wrong"));
  const mended = await startFileServer(content, ({ range }) => {
    const body = Buffer.from(content.subarray(range.start, range.end));
    body.fill("wrong", 0, 3 * 1000 - range.start);
    return body;
  });
  await fetchFrom(right, { start: 0, end: 3 * 1000 });
  await fetchFrom(wrong, { start: 0, end: 3 * 1000 });
  await fetchFrom(wrong, { start: 1000, end: 2000 });
  // Wrong where it is there, right where it is not.
  await fetchFrom(mended, { start: 500, end: MIB });
  await fetchFrom(right, { start: MIB + 100, end: MIB + 200 });
  await fetchFrom(right, { start: MIB, end: content.length });
  await expectRight();
});

it("stops where another has taken over the end, wherever in its bytes that is", async () => {
  const claim = createClaim({ start: 0, end: content.length }, 0, 0);
  const end = MIB + 12_345;
  const { promise: lowered, resolve: lower } = Promise.withResolvers<void>();
  const server = await startFileServer(content, async ({ res, range, nth }) => {
    if (nth > 1) return false;
    writeHead(res, range, content.length).write(content.subarray(0, MIB));
    await lowered;
    res.end(content.subarray(MIB));
    return true;
  });
  const fetched = fetchFrom(server, claim, { claim });
  await until("half of it is there", () => claim.position > MIB / 2);
  claim.end = end;
  lower();
  expect(await fetched).toBe("done");
  expect([claim.position, partial.done]).toEqual([end, [{ start: 0, end }]]);
  await fetchFrom(server, { start: end, end: content.length });
  await expectRight();
});

it("keeps what came before the connection broke, and says how far it was", async () => {
  const claim = createClaim({ start: 100, end: MIB }, 0, 0);
  const server = await startFileServer(content, ({ res, range, nth }) => {
    if (nth > 1) return false;
    writeHead(res, range, content.length).write(content.subarray(100, 5100), () => res.end().destroy());
    return true;
  });
  await expect(fetchFrom(server, claim, { claim })).rejects.toMatchObject({ code: "HOST_UNREACHABLE" });
  expect([claim.position, partial.done, noted]).toEqual([5100, [{ start: 100, end: 5100 }], 5000]);
});

it("keeps what came before it was cancelled", async () => {
  const stop = new AbortController();
  const claim = createClaim({ start: 0, end: MIB }, 0, 0);
  const server = await startFileServer(content, ({ res, range }) => {
    writeHead(res, range, content.length).write(content.subarray(0, 5000));
    return true;
  });
  const fetched = fetchFrom(server, claim, { claim, signal: stop.signal });
  await until("it is being read", () => freeSlots(slots) < SLOTS);
  stop.abort();
  await expect(fetched).rejects.toMatchObject({ code: "CANCELLED" });
  expect(totalBytes(partial.done)).toBe(noted);
  await until("all slots are free", () => freeSlots(slots) === SLOTS);
});
