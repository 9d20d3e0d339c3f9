import { createHash, randomBytes } from "node:crypto";
import { truncateSync } from "node:fs";
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Digester, DigestFeed } from "../../../src/fetch/transfer/digest-feed.ts";
import { type DigestStart, localDigester, RemoteDigests } from "../../../src/fetch/transfer/digesters.ts";
import { SlotPool } from "../../../src/fetch/transfer/slots.ts";
import type { Digest } from "../../../src/model.ts";
import { PartialFile } from "../../../src/store/partial-file.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";
import { until } from "../../until.ts";
import { freeSlots } from "./slots.ts";

const MIB = 1 << 20;
const SLOTS = 6;
const pool = new SlotPool(SLOTS);

let thread: Worker;
let port: MessagePort;
let remote: RemoteDigests;
beforeAll(() => {
  const { port1, port2 } = new MessageChannel();
  thread = new Worker(new URL("./fixtures/digest-thread.ts", import.meta.url), {
    workerData: port2,
    transferList: [port2],
  });
  port = port1;
  remote = new RemoteDigests(port1, pool.memory);
});
afterAll(async () => {
  port.close();
  await thread.terminate();
});

const places: Record<string, (start: DigestStart) => Digester> = {
  "on this thread": localDigester,
  "on another thread": (start) => remote.open(start),
};

function hexOf(content: Buffer, algorithm: Digest["algorithm"]): string {
  const prefix = algorithm === "git-sha1" ? `blob ${content.length}\0` : "";
  return createHash(algorithm === "sha256" ? "sha256" : "sha1")
    .update(prefix)
    .update(content)
    .digest("hex");
}

/** A partial that is not closed before what reads it. */
function openFile(content: Buffer, algorithm: Digest["algorithm"] = "sha256") {
  const digest = { algorithm, hex: hexOf(content, algorithm) };
  const partial = PartialFile.open(temporaryFolder(), digest, content.length);
  return { partial, digest, start: { fd: partial.fd, algorithm, size: content.length } };
}

/** As a connection does it: into a slot, from there into the file, then to the digest. */
async function put(content: Buffer, [start, end]: [number, number], partial: PartialFile, feed: DigestFeed) {
  for (let at = start; at < end; ) {
    const slot = pool.take();
    // Somewhere in the slot: what came before in it may still be in use.
    const from = (at * 7) % 1000;
    const length = Math.min(end - at, slot.bytes.length - from);
    content.copy(slot.bytes, from, at, at + length);
    const range = { start: at, end: at + length };
    partial.write(slot.bytes.subarray(from, from + length), at);
    partial.note(range);
    const busy = feed.offer(slot, from, range);
    slot.release();
    await busy;
    at += length;
  }
}

for (const [where, openDigest] of Object.entries(places)) {
  describe(where, () => {
    it("the digest is right, in whatever order the pieces come and however they are cut", async () => {
      const input = fc.record({
        size: fc.integer({ min: 0, max: 40_000 }),
        cuts: fc.array(fc.nat(40_000), { maxLength: 8 }),
        order: fc.array(fc.nat(), { minLength: 10, maxLength: 10 }),
        algorithm: fc.constantFrom<Digest["algorithm"]>("sha256", "git-sha1"),
      });
      await fc.assert(
        fc.asyncProperty(input, async ({ size, cuts, order, algorithm }) => {
          const content = randomBytes(size);
          const edges = [0, ...cuts.filter((cut) => cut < size).toSorted((a, b) => a - b), size];
          const pieces = edges.slice(1).map((end, index): [number, number] => [edges[index]!, end]);
          const { partial, digest, start } = openFile(content, algorithm);
          const feed = new DigestFeed(partial, openDigest(start));
          const keyed = pieces.map((piece, index) => ({ piece, key: order[index] ?? 0 }));
          for (const { piece } of keyed.toSorted((a, b) => a.key - b.key)) await put(content, piece, partial, feed);
          expect(await feed.finish(size)).toBe(digest.hex);
          feed.close();
          partial.close();
          expect(freeSlots(pool)).toBe(SLOTS);
        }),
        { numRuns: 60 },
      );
    });

    it("the digest goes on with what an earlier process had", async () => {
      const content = randomBytes(9 * MIB + 5);
      const { partial, digest, start } = openFile(content);
      for (const [from, to] of [
        [0, 5 * MIB],
        [6 * MIB, 8 * MIB],
      ] as const) {
        partial.write(content.subarray(from, to), from);
        partial.note({ start: from, end: to });
      }
      const feed = new DigestFeed(partial, openDigest(start));
      await put(content, [8 * MIB, content.length], partial, feed);
      await put(content, [5 * MIB, 6 * MIB], partial, feed);
      expect(await feed.finish(content.length)).toBe(digest.hex);
      feed.close();
      partial.close();
      expect(freeSlots(pool)).toBe(SLOTS);
    });

    it("what is given up reads no more, and gives all back", async () => {
      const content = randomBytes(8 * MIB);
      const { partial, start } = openFile(content);
      partial.write(content.subarray(0, 4 * MIB), 0);
      partial.note({ start: 0, end: 4 * MIB });
      const feed = new DigestFeed(partial, openDigest(start));
      await put(content, [4 * MIB, 6 * MIB], partial, feed);
      const finished = feed.finish(content.length);
      feed.close();
      // Closed with reads on their way: the number may be another file's from now on.
      partial.close();
      await expect(finished).rejects.toThrow("given up");
      const slot = pool.take();
      expect(feed.offer(slot, 0, { start: 6 * MIB, end: 7 * MIB })).toBeNull();
      slot.release();
      // Whatever would still be tried has had its turn.
      for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate);
      await until("all slots are free", () => freeSlots(pool) === SLOTS);
    });

    it("what is given up at its very end is told as well", async () => {
      const content = randomBytes(1000);
      const { partial, start } = openFile(content);
      const feed = new DigestFeed(partial, openDigest(start));
      await put(content, [0, 1000], partial, feed);
      const finished = feed.finish(1000).then(
        (hex) => hex,
        (error: Error) => error.message,
      );
      feed.close();
      expect([hexOf(content, "sha256"), "the digest was given up"]).toContain(await finished);
      partial.close();
    });

    it("what cannot be read fails at the end, and not the thread", async () => {
      const content = randomBytes(2 * MIB);
      const { partial, start } = openFile(content);
      partial.note({ start: 0, end: content.length });
      // A number that no file has.
      const feed = new DigestFeed(partial, openDigest({ ...start, fd: 1_000_000 }));
      await expect(feed.finish(content.length)).rejects.toThrow("EBADF");
      feed.close();
      partial.close();
    });

    it("a file that is shorter than it should be has another digest", async () => {
      const content = randomBytes(3 * MIB);
      const { partial, digest, start } = openFile(content);
      partial.write(content, 0);
      partial.note({ start: 0, end: content.length });
      truncateSync(partial.path, MIB);
      const feed = new DigestFeed(partial, openDigest(start));
      expect(await feed.finish(content.length)).not.toBe(digest.hex);
      feed.close();
      partial.close();
    });
  });
}

it("makes connections wait for a digest that is slower, and no longer than that", async () => {
  const content = randomBytes(12 * MIB);
  const { partial, digest, start } = openFile(content);
  const steps: (() => void)[] = [];
  const real = localDigester(start);
  const slow: Digester = {
    ...real,
    capacity: MIB,
    update(slot, from, length, done) {
      real.update(slot, from, length, () => steps.push(done));
    },
  };
  const feed = new DigestFeed(partial, slow);
  expect(feed.waitedMs).toBe(0);
  const written = put(content, [0, 3 * MIB], partial, feed);
  await until("it waits", () => feed.waitedMs > 0 && steps.length > 3);
  for (let done = false; !done; ) {
    steps.shift()?.();
    done = await Promise.race([written.then(() => true), new Promise<false>((next) => setImmediate(next, false))]);
  }
  for (const step of steps) step();
  const { waitedMs } = feed;
  partial.write(content.subarray(3 * MIB), 3 * MIB);
  partial.note({ start: 3 * MIB, end: content.length });
  expect(await feed.finish(content.length)).toBe(digest.hex);
  expect(feed.waitedMs).toBe(waitedMs);
  partial.close();
});

/** Takes everything, and has done none of it yet. */
function idleDigester(readAhead: number) {
  const reads: number[] = [];
  const digester: Digester = {
    capacity: MIB,
    readAhead,
    takes: () => true,
    update: () => undefined,
    read: (end) => reads.push(end),
    finish: () => Promise.resolve(""),
    close: () => undefined,
  };
  return { digester, reads };
}

it("lets connections go on that leave holes: the next bytes are another one's, and the link would idle", async () => {
  const content = randomBytes(5 * MIB);
  const { partial } = openFile(content);
  partial.note({ start: 4 * MIB, end: content.length });
  const slot = pool.take();
  const feed = new DigestFeed(partial, idleDigester(MIB).digester);
  partial.note({ start: 0, end: 3 * MIB });
  expect(feed.offer(slot, 0, { start: 3 * MIB - 1000, end: 3 * MIB })).toBeNull();
  partial.note({ start: 3 * MIB, end: 4 * MIB });
  expect(feed.offer(slot, 0, { start: 4 * MIB - 1000, end: 4 * MIB })).toBeInstanceOf(Promise);
  expect(feed.waitedMs).toBeGreaterThan(0);
  slot.release();
  feed.close();
  partial.close();
});

it("tells of no more to read than may be under way", () => {
  const content = randomBytes(5 * MIB);
  const { partial } = openFile(content);
  partial.note({ start: 0, end: content.length });
  const { digester, reads } = idleDigester(3 * MIB);
  const feed = new DigestFeed(partial, digester);
  expect(reads).toEqual([MIB, 2 * MIB, 3 * MIB]);
  feed.close();
  partial.close();
});
