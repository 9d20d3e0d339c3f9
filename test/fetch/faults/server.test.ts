import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { SLOT_BYTES } from "../../../src/fetch/transfer/slots.ts";
import { type Faults, type Hub, startHub } from "../../fakes/hub/hub.ts";
import { seededBytes } from "../../fakes/tiny-models.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";
import { modelSpec, type SyncInput } from "../sync-context.ts";
import { bytesOf, differences, sync, wrongBlobs } from "../volume.ts";

const MIB = 1 << 20;
const files = {
  "config.json": '{"model_type":"none"}',
  "tokenizer.json": "t".repeat(300_000),
  // Of three pieces, and of one.
  "model-00001-of-00002.safetensors": seededBytes(20 * MIB + 321, 1),
  "model-00002-of-00002.safetensors": seededBytes(2 * MIB + 7, 2),
};
const BIG = "model-00001-of-00002.safetensors";
const SMALL = "model-00002-of-00002.safetensors";
const total = Object.values(files).reduce((sum, source) => sum + bytesOf(source).length, 0);
const SIGNATURE = /signature=[0-9a-f]{8}/i;

let hub: Hub;
let commit: string;
let volume: string;
let repo: string;
/** Blobs that were seen under their final names with a content that is not theirs, at any request. */
let wrongSeen: string[];
beforeAll(async () => {
  hub = await startHub();
  commit = hub.addRepo({ id: "acme/model", files }).commit;
});
beforeEach(() => {
  hub.reset();
  volume = temporaryFolder();
  repo = join(volume, "huggingface", "hub", "models--acme--model");
  wrongSeen = [];
  hub.onRequest = () => {
    wrongSeen.push(...wrongBlobs(repo));
    if (existsSync(join(repo, "snapshots", commit))) wrongSeen.push("a snapshot");
  };
});
afterAll(() => hub.close());

const run = (change: Partial<SyncInput> = {}) =>
  sync({ endpoint: hub.url, volume, ...change }, [modelSpec("acme/model")]);

/** Fetches through the faults, and says what it cost. */
async function survive(faults: Faults, change: Partial<SyncInput> = {}) {
  Object.assign(hub.faults, faults);
  const { outcome, notes, progress } = await run(change);
  expect(outcome.error).toBeNull();
  expect(differences(outcome.stored!.path, files)).toEqual([]);
  expect([wrongSeen, wrongBlobs(repo)]).toEqual([[], []]);
  const done = progress.map(({ bytesDone }) => bytesDone);
  expect(Math.max(...done), "no more is done than there is").toBe(total);
  expect(Math.min(...done)).toBeGreaterThanOrEqual(0);
  expect(notes.join()).not.toMatch(SIGNATURE);
  // config.json is read once more, for the plan.
  return { notes, extraBytes: hub.bytesServed() - total - files["config.json"].length };
}

/** A hub in front of the hub, which leaves to that what the answer does not want. */
async function startMirror(answer: (req: IncomingMessage, res: ServerResponse) => boolean): Promise<string> {
  const server = createServer((req, res) => {
    if (!answer(req, res)) res.writeHead(307, { location: `${hub.url}${req.url}` }).end();
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Whether the fault was met as often as it was to be. */
const spent = (...names: (keyof Faults)[]) =>
  names.every((name) => [hub.faults[name]].flat().every((fault) => (fault as { times?: number }).times === 0));

describe("a connection", () => {
  it("that closes in the middle costs only the bytes that had not come", async () => {
    const { notes, extraBytes } = await survive({
      drop: [
        { afterBytes: MIB / 4 + 11, times: 3, path: BIG },
        { afterBytes: 100, times: 2, path: SMALL },
        { afterBytes: 5, times: 1, path: "tokenizer.json" },
      ],
    });
    expect([spent("drop"), extraBytes]).toEqual([true, 0]);
    expect(notes.filter((note) => note.includes("closed"))).not.toEqual([]);
  });

  it("that closes before the first byte is opened again", async () => {
    const { extraBytes } = await survive({ drop: { afterBytes: 0, times: 3, host: "cdn" } });
    expect([spent("drop"), extraBytes]).toEqual([true, 0]);
  });

  it("that is refused is tried again, at the hub and at the CDN", async () => {
    await survive({
      refuse: [
        { host: "hub", times: 2 },
        { host: "cdn", times: 2 },
      ],
    });
    expect(spent("refuse")).toBe(true);
  });

  it("that stalls before the first byte is given up and opened again", async () => {
    const { notes, extraBytes } = await survive({ stallStart: { host: "cdn", times: 2 } }, { stallTimeoutMs: 1_000 });
    expect([spent("stallStart"), extraBytes]).toEqual([true, 0]);
    expect(notes.join()).toContain("STALL_TIMEOUT");
  });

  it("that stalls in the middle is given up and taken up from there", async () => {
    const { notes, extraBytes } = await survive(
      { stallBody: { afterBytes: MIB / 4, times: 2, path: BIG } },
      { stallTimeoutMs: 1_000 },
    );
    expect(spent("stallBody")).toBe(true);
    // Others may bring the end of it meanwhile, beside what the stalled one had not noted.
    expect(extraBytes).toBeLessThanOrEqual(2 * SLOT_BYTES);
    expect(notes.join()).toContain("STALL_TIMEOUT");
  });
});

describe("an answer", () => {
  it("with a Content-Range of another range is not taken", async () => {
    const { notes } = await survive({
      wrongContentRange: [
        { times: 2, path: BIG },
        { times: 1, path: BIG, value: "bytes 0-8388607/999" },
      ],
    });
    expect(spent("wrongContentRange")).toBe(true);
    expect(notes.filter((note) => /with Content-Range bytes .* instead of bytes /.test(note))).toHaveLength(3);
  });

  it("longer than asked for is not taken", async () => {
    const { notes } = await survive({
      longBody: [
        { extraBytes: 5, times: 2, path: BIG },
        { extraBytes: 1, times: 1, path: SMALL },
        { extraBytes: 100, times: 1, path: "tokenizer.json" },
      ],
    });
    expect(spent("longBody")).toBe(true);
    expect(notes.filter((note) => /with \d+ bytes instead of \d+\./.test(note))).toHaveLength(4);
  });

  it("longer than asked for without a word, or packed in a way nobody asked for, is not taken", async () => {
    const bends: ((bytes: Buffer, res: ServerResponse) => void)[] = [
      // Without a Content-Length, in chunks.
      (bytes, res) => res.write(bytes, () => res.end("and more")),
      (bytes, res) => res.write(bytes.subarray(0, bytes.length - 1), () => res.end()),
      (bytes, res) => res.setHeader("Content-Encoding", "gzip").end(gzipSync(bytes)),
    ];
    const endpoint = await startMirror(({ url = "", headers }, res) => {
      if (!url.includes("/resolve/") || !url.endsWith(".safetensors") || !bends[0]) return false;
      const content = bytesOf(url.endsWith(BIG) ? files[BIG] : files[SMALL]);
      const [, start, end] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "") ?? [];
      if (start) res.setHeader("Content-Range", `bytes ${start}-${end}/${content.length}`);
      res.statusCode = start ? 206 : 200;
      bends.shift()!(start ? content.subarray(Number(start), Number(end) + 1) : content, res);
      return true;
    });
    const { notes } = await survive({}, { endpoint });
    expect(notes.filter((note) => note.includes("more bytes than the"))).toHaveLength(1);
    expect(notes.filter((note) => note.includes("a gzip encoding that nobody asked for"))).toHaveLength(1);
    expect(notes.filter((note) => /closed the connection after \d+ of \d+ bytes/.test(note))).toHaveLength(1);
  });

  it("shorter than asked for is completed", async () => {
    const { notes } = await survive({
      shortBody: [
        { missingBytes: 4, times: 2, path: BIG },
        { missingBytes: 1, times: 1, path: SMALL },
        { missingBytes: 1, times: 1, path: "tokenizer.json" },
      ],
    });
    expect(spent("shortBody")).toBe(true);
    expect(notes.filter((note) => /with \d+ bytes instead of \d+\./.test(note))).toHaveLength(4);
  });

  it("with another ETag in the middle is asked for anew, whichever of the two was the right one", async () => {
    const { notes } = await survive({ changeEtag: { skip: 1, times: 1, path: BIG } });
    expect(spent("changeEtag")).toBe(true);
    expect(notes.filter((note) => note.includes("another file in the middle of this one"))).not.toEqual([]);
    volume = temporaryFolder();
    hub.reset();
    await survive({ changeEtag: { times: 1, path: BIG } });
  });

  it("with the whole file in place of a range gets that file in one piece", async () => {
    const { notes } = await survive({ ignoreRange: true });
    const said = notes.filter((note) => note.includes("whole files only"));
    expect(said.filter((note) => note.includes(BIG))).toHaveLength(1);
    expect(new Set(said).size, "once a file").toBe(said.length);
  });

  it("with the whole file in place of a range begins over when it breaks", async () => {
    await survive({ ignoreRange: true, drop: { afterBytes: 12 * MIB, times: 1, path: BIG } });
    expect(spent("drop")).toBe(true);
  });

  it("by a detour, or compressed where that is allowed, makes no difference", async () => {
    await survive({ gzip: true, relativeRedirect: true });
    expect(hub.requests.filter(({ path }) => path.startsWith("/api/resolve-cache/")).length).toBeGreaterThan(0);
  });
});

describe("a server", () => {
  it("that limits the rate or fails is asked again, hub and CDN", async () => {
    const { extraBytes } = await survive({
      rateLimit: [
        { host: "hub", times: 1, seconds: 1, path: "resolve" },
        { host: "cdn", times: 2, seconds: 1 },
      ],
      serverError: [
        { host: "hub", times: 2, path: "resolve" },
        { host: "cdn", times: 2, status: 500 },
      ],
    });
    expect([spent("rateLimit", "serverError"), extraBytes]).toEqual([true, 0]);
  });

  it("whose links expire is asked for new ones", async () => {
    const { extraBytes } = await survive({
      expireSignatures: { afterUses: 1 },
      drop: { afterBytes: MIB / 4, times: 4, path: BIG },
    });
    expect([spent("drop"), extraBytes]).toEqual([true, 0]);
    expect(hub.requests.some(({ host, status }) => host === "cdn" && status === 403)).toBe(true);
  });

  it("of another host on the same name gets no token either", async () => {
    await survive({ cdnOnHubName: true });
    expect(hub.requests.filter(({ host, authorization }) => host === "cdn" && authorization)).toEqual([]);
  });

  it("that shows its links only in errors is not quoted with them", async () => {
    // What stays so for the whole of the attempts would take minutes: the error is seen as the note of a retry.
    Object.assign(hub.faults, { serverError: { host: "cdn", times: 1, status: 418 } });
    const { outcome, notes } = await run();
    expect(outcome.error?.code ?? null).toBe(null);
    expect(notes.join()).toContain("418");
    expect(notes.join()).not.toMatch(SIGNATURE);
  });
});

describe("a hub", () => {
  it("that lists in small pages, and gives no range of an empty file, is read to the end", async () => {
    const many = { ...files, "empty.txt": "", "folder/also-empty.json": "", "a.txt": "a", "b.txt": "b", "c.txt": "c" };
    hub.addRepo({ id: "acme/many", files: many });
    Object.assign(hub.faults, { pageSize: 2, strictEmpty: true });
    const { outcome } = await sync({ endpoint: hub.url, volume }, [modelSpec("acme/many")]);
    expect(outcome.error).toBeNull();
    expect(differences(outcome.stored!.path, many)).toEqual([]);
  });

  it("that is slow is waited for, as long as something comes", async () => {
    const { extraBytes } = await survive({ slow: { bytesPerSecond: 8 * MIB } }, { stallTimeoutMs: 300 });
    // A connection that is slower than the others is relieved of its end, which may come twice.
    expect(extraBytes).toBeLessThan(4 * MIB);
  });

  it("that does all of it at once is got on with", async () => {
    await survive(
      {
        drop: { afterBytes: MIB / 4 + 3, times: 2 },
        stallBody: { afterBytes: MIB / 3, times: 1 },
        stallStart: { times: 1, host: "cdn" },
        refuse: { times: 1, host: "cdn" },
        serverError: { times: 1, host: "hub", path: "resolve" },
        wrongContentRange: { times: 1 },
        longBody: { times: 1, extraBytes: 9 },
        shortBody: { times: 1, missingBytes: 9 },
        changeEtag: { times: 1, skip: 2 },
        expireSignatures: { afterUses: 3, times: 2 },
        relativeRedirect: true,
        gzip: true,
        flipByte: { path: SMALL, offset: 5, times: 1 },
        slow: { bytesPerSecond: 40 * MIB },
      },
      { stallTimeoutMs: 500 },
    );
  });
});

describe("a wrong byte", () => {
  it("once is found by the digest, and healed", async () => {
    for (const [path, offset] of [
      [BIG, 17 * MIB],
      [SMALL, 0],
      ["tokenizer.json", 299_999],
    ] as const) {
      hub.reset();
      volume = temporaryFolder();
      repo = join(volume, "huggingface", "hub", "models--acme--model");
      const { notes, extraBytes } = await survive({ flipByte: { path, offset, times: 1 } });
      expect([spent("flipByte"), extraBytes]).toEqual([true, files[path].length]);
      expect(notes.filter((note) => /wrong [\w-]+ digest: expected [0-9a-f]+, got [0-9a-f]+/.test(note))).toHaveLength(
        1,
      );
    }
  });

  it("every time ends with what was expected and what came, and nothing under the final name", async () => {
    Object.assign(hub.faults, { flipByte: { path: SMALL, offset: MIB } });
    const { outcome } = await run();
    const expected = /expected ([0-9a-f]{64}), got ([0-9a-f]{64})/.exec(outcome.error!.message);
    expect(outcome).toMatchObject({ stored: null, error: { code: "DIGEST_MISMATCH" } });
    expect(expected?.[1]).not.toBe(expected?.[2]);
    expect(outcome.error!.message).toContain(SMALL);
    expect(hub.bytesServed({ file: SMALL })).toBe(2 * files[SMALL].length);
    expect(existsSync(join(repo, "blobs", expected![1]!))).toBe(false);
    expect([readdirSync(join(repo, "snapshots")), existsSync(join(repo, "refs"))]).toEqual([[], false]);
    expect(wrongBlobs(repo)).toEqual([]);

    // And all is well as soon as the server is.
    hub.reset();
    const again = await run();
    expect(again.outcome.error).toBeNull();
    expect(differences(again.outcome.stored!.path, files)).toEqual([]);
    expect(hub.bytesServed({ file: SMALL })).toBe(files[SMALL].length);
  });
});

describe("the work", () => {
  it("can be cancelled at any moment, and goes on later from where it was", async () => {
    for (const moment of [0, 1, 6 * MIB]) {
      hub.reset();
      volume = temporaryFolder();
      repo = join(volume, "huggingface", "hub", "models--acme--model");
      const stop = new AbortController();
      Object.assign(hub.faults, { slow: { bytesPerSecond: 40 * MIB } });
      const watch = setInterval(() => {
        if (hub.requests.length > 0 && hub.bytesServed() >= moment) stop.abort();
      }, 2);
      const { outcome } = await sync({ endpoint: hub.url, volume }, [modelSpec("acme/model")], stop.signal);
      clearInterval(watch);
      expect(outcome).toMatchObject({ stored: null, error: { code: "CANCELLED" } });
      expect(wrongBlobs(repo)).toEqual([]);
      expect(existsSync(join(repo, "snapshots", commit))).toBe(false);
      const cost = hub.bytesServed();
      hub.reset();
      const { extraBytes } = await survive({});
      // What was under way when it was cancelled: at most what a connection holds unnoted and in its buffers.
      expect(cost + extraBytes).toBeLessThan(4 * 4 * MIB);
    }
  });

  it("keeps to the connections it may have", async () => {
    Object.assign(hub.faults, { slow: { bytesPerSecond: 60 * MIB } });
    await survive({}, { connections: 2 });
    expect(hub.peakRequests("cdn")).toBeLessThanOrEqual(2);
    expect(hub.peakRequests("cdn")).toBeGreaterThan(0);
  });

  it("keeps few files open, however many there are to fetch", async () => {
    const many = Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`part/${index}.txt`, `file ${index}`]));
    hub.addRepo({ id: "acme/many", files: many });
    const before = readdirSync("/proc/self/fd").length;
    let most = 0;
    hub.onRequest = () => {
      most = Math.max(most, readdirSync("/proc/self/fd").length);
    };
    const { outcome } = await sync({ endpoint: hub.url, volume, connections: 4 }, [modelSpec("acme/many")]);
    expect(outcome.error).toBeNull();
    expect(differences(outcome.stored!.path, many)).toEqual([]);
    expect(most - before).toBeLessThan(100);
  });

  it("leaves no partial behind when it is done", async () => {
    await survive({ drop: { afterBytes: 1000, times: 2 } });
    expect(readdirSync(join(repo, ".muster", "ingest"))).toEqual([]);
    expect(readFileSync(join(repo, "refs", "main"), "utf8")).toBe(commit);
  });
});
