import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync, rmSync } from "node:fs";
import { setTimeout as later } from "node:timers/promises";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import type { ErrorCode } from "../../../src/errors.ts";
import { ConnectionPool } from "../../../src/fetch/transfer/connection-pool.ts";
import { type DigestStart, localDigester } from "../../../src/fetch/transfer/digesters.ts";
import type { FetchJob } from "../../../src/fetch/transfer/file-transfer.ts";
import { createLimits, createPace, type SharedLimits } from "../../../src/fetch/transfer/limits.ts";
import { Scheduler } from "../../../src/fetch/transfer/scheduler.ts";
import { SlotPool } from "../../../src/fetch/transfer/slots.ts";
import type { Digest } from "../../../src/model.ts";
import { PartialFile, partialPath } from "../../../src/store/partial-file.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";
import { until } from "../../until.ts";
import { type FileServer, startFileServer, writeHead } from "./file-server.ts";
import { freeSlots } from "./slots.ts";

const MIB = 1 << 20;
const SLOTS = 16;
const CONNECTIONS = 4;
const content = randomBytes(6 * MIB + 123);
const never = new AbortController().signal;
const digestOf = (bytes: Buffer): Digest => ({
  algorithm: "sha256",
  hex: createHash("sha256").update(bytes).digest("hex"),
});
const digest = digestOf(content);

let slots: SlotPool;
let limits: SharedLimits;
let scheduler: Scheduler;
let folder: string;
let notes: string[];
let retries: ErrorCode[];
let bytes: number;
beforeEach(() => {
  slots = new SlotPool(SLOTS);
  limits = createLimits(CONNECTIONS - 1, createPace(null));
  scheduler = new Scheduler(limits, CONNECTIONS);
  folder = temporaryFolder();
  notes = [];
  retries = [];
  bytes = 0;
});

interface FetchOptions {
  signal?: AbortSignal;
  stallTimeoutMs?: number;
  job?: Partial<FetchJob>;
  openDigest?: typeof localDigester;
}

/** No stall timeout within the time of a test, unless it says so. */
function fetchFile({ url }: FileServer, options: FetchOptions = {}): Promise<void> {
  const { signal = never, stallTimeoutMs = 600_000, openDigest = localDigester } = options;
  const pool = new ConnectionPool({ slots, stallTimeoutMs, userAgent: "muster/test" });
  const job: FetchJob = {
    ...{ kind: "fetch", url, authorization: null, name: "a file", page: url, signed: false, patient: true },
    ...{ folder, size: content.length, digest, ...options.job },
  };
  const onBytes = (count: number) => {
    bytes += count;
  };
  const onNote = (note: string) => void notes.push(note);
  const onRetry = (code: ErrorCode) => void retries.push(code);
  return scheduler.fetch(job, { pool, limits, openDigest, signal, onBytes, onNote, onRetry });
}

function expectRight(): void {
  expect(readFileSync(partialPath(folder, digest)).equals(content)).toBe(true);
  expect(bytes).toBe(content.length);
}

/** All places for connections are free again, and of the slots all that no idle connection holds. */
async function expectNothingLeft(): Promise<void> {
  await until("all places are free", () => limits.places[0] === CONNECTIONS - 1);
  await until("slots are free", () => freeSlots(slots) >= SLOTS - CONNECTIONS);
}

const asked = ({ ranges }: FileServer) => ranges.reduce((sum, { start, end }) => sum + end - start, 0);

describe("a file", () => {
  it("comes whole, each byte once", async () => {
    const server = await startFileServer(content);
    await fetchFile(server);
    expectRight();
    expect(asked(server)).toBe(content.length);
    await expectNothingLeft();
  });

  it("without a byte asks nobody", async () => {
    const server = await startFileServer(content);
    await fetchFile(server, { job: { size: 0, digest: digestOf(Buffer.alloc(0)) } });
    expect(server.ranges).toEqual([]);
    await expect(fetchFile(server, { job: { size: 0 } })).rejects.toMatchObject({ code: "DIGEST_MISMATCH" });
  });

  it("that was begun, with holes, is completed by what is missing", async () => {
    const partial = PartialFile.open(folder, digest, content.length);
    const held = [
      { start: 100, end: 2 * MIB },
      { start: 3 * MIB, end: 3 * MIB + 5 },
      { start: 5 * MIB, end: content.length },
    ];
    for (const range of held) {
      partial.write(content.subarray(range.start, range.end), range.start);
      bytes += partial.note(range);
    }
    partial.close();
    const server = await startFileServer(content);
    await fetchFile(server);
    expectRight();
    expect(asked(server)).toBe(content.length - held.reduce((sum, { start, end }) => sum + end - start, 0));
    expect(notes.join()).toContain("Resuming");
    await expectNothingLeft();
  });

  it("that was begun with other bytes is dropped, and right the next time", async () => {
    const partial = PartialFile.open(folder, digest, content.length);
    partial.write(Buffer.alloc(MIB, "wrong"), 2 * MIB);
    partial.note({ start: 2 * MIB, end: 3 * MIB });
    partial.close();
    const server = await startFileServer(content);
    await expect(fetchFile(server)).rejects.toMatchObject({ code: "DIGEST_MISMATCH" });
    bytes = 0;
    await fetchFile(server);
    expectRight();
    await expectNothingLeft();
  });

  it("that cannot be opened fails, and the next one does not", async () => {
    const server = await startFileServer(content);
    const nowhere = `${partialPath(folder, digest)}/below-a-file`;
    await fetchFile(server);
    await expect(fetchFile(server, { job: { folder: nowhere } })).rejects.toMatchObject({
      code: "VOLUME_NOT_WRITABLE",
    });
    await fetchFile(server);
    await expectNothingLeft();
  });
});

describe("a connection that is slower than it has to be", () => {
  it("at the end of a file is overtaken by another, long before it would count as stalled", async () => {
    const stalled = content.length - MIB / 2;
    const left: Promise<unknown>[] = [];
    const server = await startFileServer(content, ({ range, res }) => {
      // The first that comes there sends no more; the next all.
      if (left.length > 0 || range.end <= stalled) return false;
      left.push(once(res, "close"));
      writeHead(res, range, content.length).write(content.subarray(range.start, stalled));
      return true;
    });
    await fetchFile(server);
    expectRight();
    await left[0];
    // Twice came at most what was under way.
    expect(asked(server)).toBeLessThanOrEqual(content.length + MIB);
    await expectNothingLeft();
  });

  it("gives the half of what it has to do to another", async () => {
    const large = randomBytes(24 * MIB);
    const large256 = digestOf(large);
    const slowFrom = 2 * MIB;
    const { promise: overtaken, resolve } = Promise.withResolvers<void>();
    const server = await startFileServer(large, async ({ range, res, nth }) => {
      if (nth > 1) {
        if (range.start > slowFrom) resolve();
        return false;
      }
      writeHead(res, range, large.length).write(large.subarray(range.start, slowFrom));
      await overtaken;
      res.end(large.subarray(slowFrom, range.end));
      return true;
    });
    await fetchFile(server, { job: { size: large.length, digest: large256 } });
    expect(readFileSync(partialPath(folder, large256)).equals(large)).toBe(true);
    expect(server.ranges.length).toBeGreaterThan(1);
    await expectNothingLeft();
  });

  it("and then fails is not replaced by a third while the second is at work", async () => {
    // Too little to be divided.
    const small = content.subarray(0, MIB / 2);
    let sentBySecond = 0;
    let sentWhenFirstFailed = Number.NaN;
    const server = await startFileServer(small, async ({ range, res, req, nth }) => {
      writeHead(res, range, small.length);
      if (nth === 1) {
        res.once("close", () => {
          sentWhenFirstFailed = sentBySecond;
        });
        res.write(small.subarray(0, MIB / 4));
        return true;
      }
      // The second is at work for as long as the first is waited for, and longer.
      for (let at = range.start; at < range.end && !req.destroyed; at += 16_000) {
        res.write(small.subarray(at, Math.min(range.end, at + 16_000)));
        sentBySecond += 16_000;
        await later(200);
      }
      res.end();
      return true;
    });
    const job = { size: small.length, digest: digestOf(small) };
    await fetchFile(server, { stallTimeoutMs: 2_500, job });
    expect(readFileSync(partialPath(folder, job.digest)).equals(small)).toBe(true);
    expect(sentWhenFirstFailed).toBeLessThan(MIB / 4 - 16_000);
    expect(server.ranges).toHaveLength(2);
    await expectNothingLeft();
  });
});

describe("a server that sends whole files only", () => {
  it("sends it once, whoever else had begun", async () => {
    const server = await startFileServer(content, async ({ range, res }) => {
      if (range.start === 0 && range.end === content.length) return false;
      res.writeHead(200, { "content-length": content.length }).end(content);
      return true;
    });
    const partial = PartialFile.open(folder, digest, content.length);
    partial.write(content.subarray(0, 1000), 1000);
    bytes += partial.note({ start: 1000, end: 2000 });
    partial.close();
    await fetchFile(server);
    expectRight();
    expect(notes.filter((note) => note.includes("whole files only"))).toHaveLength(1);
    await expectNothingLeft();
  });

  it("and breaks off begins over", async () => {
    let breaks = 3;
    const server = await startFileServer(content, ({ range, res }) => {
      res.writeHead(200, { "content-length": content.length });
      if (breaks > 0 && range.end === content.length && range.start === 0) {
        breaks -= 1;
        res.write(content.subarray(0, MIB * breaks), () => res.destroy());
      } else res.end(content);
      return true;
    });
    const partial = PartialFile.open(folder, digest, content.length);
    bytes += partial.note({ start: 1000, end: 2000 });
    partial.close();
    await fetchFile(server);
    expectRight();
    expect(breaks).toBe(0);
    await expectNothingLeft();
  });

  it("on to a disk that refuses to begin over fails, and nothing else does", async () => {
    const server = await startFileServer(content, ({ res }) => {
      res.writeHead(200, { "content-length": content.length });
      // The folder is gone when the file is to begin over.
      rmSync(folder, { recursive: true, force: true });
      res.write(content.subarray(0, MIB), () => res.destroy());
      return true;
    });
    const partial = PartialFile.open(folder, digest, content.length);
    partial.note({ start: 1000, end: 2000 });
    partial.close();
    await expect(fetchFile(server)).rejects.toMatchObject({ code: "ENOENT" });
    await expectNothingLeft();
  });
});

describe("a server that fails", () => {
  it("for good ends the file with its error, and all its connections", async () => {
    const server = await startFileServer(content, ({ res, nth }) => {
      if (nth === 1) return false;
      res.writeHead(403).end("no");
      return true;
    });
    const partial = PartialFile.open(folder, digest, content.length);
    partial.note({ start: 1000, end: 2000 });
    partial.close();
    await expect(fetchFile(server)).rejects.toMatchObject({ code: "ACCESS_REFUSED" });
    await expectNothingLeft();
  });

  it("again and again ends the file where there is another place to turn to", async () => {
    // One piece.
    const small = content.subarray(0, MIB / 2);
    const server = await startFileServer(small, ({ res }) => {
      res.writeHead(503).end();
      return true;
    });
    const job = { patient: false, size: small.length, digest: digestOf(small) };
    await expect(fetchFile(server, { job })).rejects.toMatchObject({ code: "SERVER_ERROR" });
    expect(server.ranges).toHaveLength(3);
    expect(retries).toEqual(["SERVER_ERROR", "SERVER_ERROR"]);
    await expectNothingLeft();
  });
});

describe("a cancel", () => {
  it("ends a file that is under way with its reason", async () => {
    const stop = new AbortController();
    const server = await startFileServer(content, ({ range, res }) => {
      writeHead(res, range, content.length).write(content.subarray(range.start, range.start + 1000), () =>
        stop.abort(),
      );
      return true;
    });
    await expect(fetchFile(server, { signal: stop.signal })).rejects.toMatchObject({ name: "AbortError" });
    await expectNothingLeft();
  });

  it("does not wait for the digest of what was there", async () => {
    const size = 256 * MIB;
    const zeros: Digest = { algorithm: "sha256", hex: "0".repeat(64) };
    const partial = PartialFile.open(folder, zeros, size);
    partial.note({ start: 0, end: size });
    partial.close();
    const server = await startFileServer(content);
    const stop = new AbortController();
    let read = 0;
    const openDigest = (start: DigestStart) => {
      const digester = localDigester(start);
      const countedRead = (end: number, done: () => void) => {
        read = end;
        digester.read(end, done);
      };
      return { ...digester, read: countedRead };
    };
    const fetched = fetchFile(server, { signal: stop.signal, job: { size, digest: zeros }, openDigest });
    await until("it is being read", () => read > 0);
    stop.abort();
    await expect(fetched).rejects.toMatchObject({ name: "AbortError" });
    expect(read).toBeLessThan(size);
    // What was on its way finds the file closed, and the thread alive.
    for (let turn = 0; turn < 10; turn += 1) await new Promise(setImmediate);
  });

  it("is told at once to a file whose turn has not come", async () => {
    const server = await startFileServer(content, () => true);
    const others = new AbortController();
    const jobs = Array.from({ length: 80 }, (_, index) =>
      fetchFile(server, { signal: others.signal, job: { digest: { ...digest, hex: `${index}` } } }),
    );
    for (const job of jobs) job.catch(() => undefined);
    onTestFinished(() => others.abort());
    const stop = new AbortController();
    const last = fetchFile(server, { signal: stop.signal });
    stop.abort();
    await expect(last).rejects.toMatchObject({ name: "AbortError" });
    others.abort();
    const outcomes = await Promise.allSettled(jobs);
    expect(outcomes.every(({ status }) => status === "rejected")).toBe(true);
    await expectNothingLeft();
  });
});
