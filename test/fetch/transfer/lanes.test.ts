import { createHash, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Worker } from "node:worker_threads";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import type { TransferJob } from "../../../src/fetch/transfer/job.ts";
import { Lanes, type LanesOptions } from "../../../src/fetch/transfer/lanes.ts";
import { SLOT_BYTES } from "../../../src/fetch/transfer/slots.ts";
import type { Digest } from "../../../src/model.ts";
import { partialPath } from "../../../src/store/partial-file.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";
import { until } from "../../until.ts";
import { type FileServer, startFileServer } from "./file-server.ts";

const MIB = 1 << 20;
const content = randomBytes(3 * MIB);
const digest: Digest = { algorithm: "sha256", hex: createHash("sha256").update(content).digest("hex") };

let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
});

function openLanes(change: Partial<LanesOptions> = {}): Lanes {
  const options = { connections: 4, stallTimeoutMs: 60_000, userAgent: "muster/test", verify: true, bandwidth: null };
  const lanes = new Lanes({ ...options, ...change });
  onTestFinished(() => lanes.close());
  return lanes;
}

const fetchJob = ({ url }: FileServer, change: Partial<Extract<TransferJob, { kind: "fetch" }>> = {}): TransferJob => ({
  ...{ kind: "fetch", url, authorization: null, name: "a file", page: url, signed: false, patient: true },
  ...{ folder, size: content.length, digest, ...change },
});

it("fetch, digest and copy", async () => {
  const server = await startFileServer(content);
  const lanes = openLanes();
  let bytes = 0;
  const onBytes = (count: number) => {
    bytes += count;
  };
  expect(await lanes.run(fetchJob(server), { onBytes })).toBe(digest.hex);
  expect(bytes).toBe(content.length);
  const path = partialPath(folder, digest);
  expect(readFileSync(path).equals(content)).toBe(true);
  const { length: size } = content;
  const { algorithm, hex } = digest;
  expect(await lanes.run({ kind: "digest", path, size, algorithm }, {})).toBe(hex);
  const copy = { kind: "copy", path, name: "a file", folder: temporaryFolder(), size, digest } as const;
  expect(await lanes.run(copy, {})).toBe(hex);
  const other = join(temporaryFolder(), "other");
  writeFileSync(other, "");
  const empty = createHash(algorithm).digest("hex");
  expect(await lanes.run({ kind: "digest", path: other, size: 0, algorithm }, {})).toBe(empty);
  expect(await lanes.run({ kind: "digest", path: `${other}-not-there`, size: 0, algorithm }, {})).toBeNull();
});

it("fail all jobs with a clear error when one of them dies, and the next ones have new threads", async () => {
  const threads: Worker[] = [];
  const notice = (worker: Worker) => void threads.push(worker);
  process.on("worker", notice);
  onTestFinished(() => void process.off("worker", notice));
  const server = await startFileServer(content, ({ nth }) => nth <= 2);
  const lanes = openLanes();
  const jobs = [0, 1].map((index) => lanes.run(fetchJob(server, { digest: { ...digest, hex: `${index}` } }), {}));
  await until("both are under way", () => server.ranges.length >= 2);
  const count = threads.length;
  void threads[0]!.terminate();
  // At once, while the other old threads are still on their way out.
  const next = jobs[1]!.catch(() => lanes.run(fetchJob(server), {}));
  for (const outcome of await Promise.allSettled(jobs)) {
    expect(outcome).toMatchObject({
      status: "rejected",
      reason: { code: "INTERNAL", message: "A transfer thread ended unexpectedly." },
    });
  }
  expect(await next).toBe(digest.hex);
  expect(readFileSync(partialPath(folder, digest)).equals(content)).toBe(true);
  expect(threads).toHaveLength(2 * count);
});

describe("a job", () => {
  it("that is cancelled ends with that, whether it waits, runs or is done", async () => {
    const server = await startFileServer(content, ({ nth }) => nth === 1);
    const lanes = openLanes();
    const stop = new AbortController();
    const { signal } = stop;
    const running = lanes.run(fetchJob(server), { signal });
    await until("it is under way", () => server.ranges.length === 1);
    const waiting = lanes.run(fetchJob(server), { signal });
    stop.abort();
    await expect(waiting).rejects.toMatchObject({ code: "CANCELLED" });
    await expect(running).rejects.toMatchObject({ code: "CANCELLED" });
    const late = new AbortController();
    expect(await lanes.run(fetchJob(server), { signal: late.signal })).toBe(digest.hex);
    late.abort();
  });

  it("that waits or runs when the threads are closed is cancelled, and a later one has new threads", async () => {
    const server = await startFileServer(content, ({ nth }) => nth === 1);
    const lanes = openLanes();
    const running = lanes.run(fetchJob(server), {});
    const ended = expect(running).rejects.toMatchObject({ code: "CANCELLED" });
    await until("it is under way", () => server.ranges.length === 1);
    const waiting = lanes.run(fetchJob(server), {});
    const neverBegun = expect(waiting).rejects.toMatchObject({ code: "CANCELLED" });
    await lanes.close();
    await Promise.all([ended, neverBegun]);
    expect(await lanes.run(fetchJob(server), {})).toBe(digest.hex);
    await lanes.close();
    await lanes.close();
  });

  it("that fails does so alone", async () => {
    const server = await startFileServer(content);
    const lanes = openLanes();
    const wrong = { ...digest, hex: "0".repeat(64) };
    const [failed, done] = await Promise.allSettled([
      lanes.run(fetchJob(server, { digest: wrong }), {}),
      lanes.run(fetchJob(server), {}),
    ]);
    expect(failed).toMatchObject({ status: "rejected", reason: { code: "DIGEST_MISMATCH" } });
    expect(done).toMatchObject({ status: "fulfilled", value: digest.hex });
  });
});

it("keep to the bandwidth, all of them together", async () => {
  const bandwidth = 6 * MIB;
  const connections = 4;
  const server = await startFileServer(content);
  const lanes = openLanes({ bandwidth, connections });
  const folders = [folder, temporaryFolder()];
  // The threads are there, so that only bytes take time.
  await lanes.run({ kind: "digest", path: "/nowhere", size: 1, algorithm: "sha256" }, {});
  const begin = performance.now();
  await Promise.all(folders.map((into) => lanes.run(fetchJob(server, { folder: into }), {})));
  const elapsed = performance.now() - begin;
  // What each connection had last is not waited for any more.
  const waitedFor = 2 * content.length - connections * SLOT_BYTES;
  expect(elapsed).toBeGreaterThanOrEqual((waitedFor / bandwidth) * 1000);
  for (const into of folders) expect(readFileSync(partialPath(into, digest)).equals(content)).toBe(true);
});
