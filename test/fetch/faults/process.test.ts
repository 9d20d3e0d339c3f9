import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, it, onTestFinished } from "vitest";
import { addRange, type Range, totalBytes } from "../../../src/store/ranges.ts";
import { type Hub, startHub } from "../../fakes/hub/hub.ts";
import { seededBytes } from "../../fakes/tiny-models.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";
import { until } from "../../until.ts";
import { modelSpec } from "../sync-context.ts";
import { bytesOf, differences, outcomeOf, type SyncProcess, startSync, wrongBlobs } from "../volume.ts";

const MIB = 1 << 20;
const files = {
  "config.json": '{"model_type":"none"}',
  "tokenizer.json": "t".repeat(300_000),
  "model-00001-of-00002.safetensors": seededBytes(25 * MIB + 321, 1),
  "model-00002-of-00002.safetensors": seededBytes(7 * MIB + 7, 2),
};
const total = Object.values(files).reduce((sum, source) => sum + bytesOf(source).length, 0);
const specs = [modelSpec("acme/model")];
const CONNECTIONS = 2;

let hub: Hub;
let commit: string;
let volume: string;
let repo: string;
beforeAll(async () => {
  hub = await startHub();
  commit = hub.addRepo({ id: "acme/model", files }).commit;
});
beforeEach(() => {
  hub.reset();
  useNewVolume();
});
afterAll(() => hub.close());

function useNewVolume(): void {
  volume = temporaryFolder();
  repo = join(volume, "huggingface", "hub", "models--acme--model");
}

const start = () => startSync({ endpoint: hub.url, volume, connections: CONNECTIONS }, specs);
const snapshot = () => join(repo, "snapshots", commit);
const records = () => {
  const folder = join(volume, ".muster", "models");
  return existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(".json")) : [];
};

/** What holds at every moment, whoever was killed when. */
function expectNothingWrong(): void {
  expect(wrongBlobs(repo)).toEqual([]);
  // A snapshot is whole or absent, a record names a whole snapshot, a ref comes after the record.
  if (existsSync(snapshot())) expect(differences(snapshot(), files)).toEqual([]);
  if (records().length > 0) expect(existsSync(snapshot())).toBe(true);
  const refs = join(repo, "refs");
  if (existsSync(refs) && readdirSync(refs).length > 0) {
    expect(readFileSync(join(refs, "main"), "utf8")).toBe(commit);
    expect(records()).toHaveLength(1);
  }
}

/** What a process said it had, when it was last heard of. */
function told({ lines }: SyncProcess): number {
  return lines.findLast(({ progress }) => progress)?.progress?.bytesDone ?? 0;
}

/** Bytes of finished files, and of unfinished ones what their journals list. */
function keptBytes(): number {
  const sizes = existsSync(join(repo, "blobs"))
    ? readdirSync(join(repo, "blobs")).map((name) => statSync(join(repo, "blobs", name)).size)
    : [];
  const ingest = join(repo, ".muster", "ingest");
  const journals = existsSync(ingest) ? readdirSync(ingest).filter((name) => name.endsWith(".journal")) : [];
  const noted = journals.map((name) => {
    // Of a file that was just finished the journal goes last.
    if (!existsSync(join(ingest, name.replace(".journal", ".partial")))) return 0;
    const lines = readFileSync(join(ingest, name), "utf8").split("\n").slice(1, -1);
    const ranges = lines.map((line) => line.split(" ").map(Number) as [number, number]);
    return totalBytes(ranges.reduce<Range[]>((list, [start, end]) => addRange(list, { start, end }), []));
  });
  return [...sizes, ...noted].reduce((sum, bytes) => sum + bytes, 0);
}

async function killed(child: SyncProcess): Promise<void> {
  child.kill("SIGKILL");
  expect((await child.exited).signal).toBe("SIGKILL");
  expectNothingWrong();
}

async function expectDone(child: SyncProcess): Promise<number> {
  const { stored, fetchedBytes, error } = await outcomeOf(child);
  expect(error).toBeNull();
  expect(differences(stored!.path, files)).toEqual([]);
  expectNothingWrong();
  expect(readFileSync(join(repo, "refs", "main"), "utf8")).toBe(commit);
  return fetchedBytes;
}

it("fetches each byte once, however many do it at once", async () => {
  const gate = Promise.withResolvers<void>();
  hub.onRequest = ({ host }) => (host === "cdn" ? gate.promise : undefined);
  const first = start();
  await until("the first asks for the weights", () => hub.requests.some(({ host }) => host === "cdn"));
  const others = [start(), start()];
  const waits = ({ lines }: SyncProcess) => lines.some(({ note }) => note?.startsWith("Waiting for "));
  await until("the others wait for it", () => others.every(waits));
  gate.resolve();
  expect(await expectDone(first)).toBe(total);
  expect(await Promise.all(others.map(expectDone))).toEqual([0, 0]);
  // config.json is read once more, for the plan of the one that fetched.
  expect(hub.bytesServed()).toBe(total + files["config.json"].length);
});

it("killed at any moment goes on from there", async () => {
  Object.assign(hub.faults, { slow: { bytesPerSecond: 15 * MIB } });
  // A seed makes a failure repeatable.
  let state = 20_261_121;
  const random = () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return state / 0x7fffffff;
  };
  const moments = Array.from({ length: 8 }, (_, index) => ((index + random()) / 8) * total).map(Math.floor);
  for (const moment of moments) {
    const child = start();
    await until(`${moment} bytes are there`, () => told(child) >= moment || child.lines.at(-1)?.outcomes);
    await killed(child);
    // What a kill costs on each connection: less than the mebibyte after which it takes notes.
    expect(keptBytes()).toBeGreaterThan(told(child) - CONNECTIONS * MIB);
  }
  const kept = keptBytes();
  expect(await expectDone(start())).toBe(total - kept);
});

it("killed before the first byte, or at any request, begins as if nothing had been", async () => {
  for (const nth of [1, 2, 3, 4, 6]) {
    const child = start();
    const before = hub.requests.length;
    const reached = Promise.withResolvers<void>();
    hub.onRequest = () => (hub.requests.length - before >= nth ? reached.resolve() : undefined);
    await reached.promise;
    await killed(child);
  }
  await expectDone(start());
});

it("killed while it publishes leaves a model whole or absent, and fetches nothing twice", async () => {
  const blobs = () => (existsSync(join(repo, "blobs")) ? readdirSync(join(repo, "blobs")).length : 0);
  const moments = {
    "the first blob": () => blobs() > 0,
    "the last blob": () => blobs() === 4,
    "the snapshot": () => existsSync(snapshot()),
    "the record": () => records().length > 0,
    "the ref": () => existsSync(join(repo, "refs", "main")),
  };
  for (const [what, reached] of Object.entries(moments)) {
    useNewVolume();
    const child = start();
    // Killed a millisecond later it may be further, or done.
    const done = child.exited.then(() => true);
    for (let over = false; !over && !reached(); ) over = await Promise.race([done, sleep(1, false)]);
    child.kill("SIGKILL");
    await child.exited;
    expect(reached(), what).toBe(true);
    expectNothingWrong();
    const kept = keptBytes();
    expect(await expectDone(start())).toBe(total - kept);
  }
});

it("frozen and overtaken spoils nothing when it wakes", async () => {
  Object.assign(hub.faults, { slow: { bytesPerSecond: 10 * MIB } });
  const frozen = start();
  await until("a part was sent", () => hub.bytesServed() > 8 * MIB);
  frozen.kill("SIGSTOP");
  onTestFinished(() => frozen.kill("SIGCONT"));
  const other = start();
  const taken = () => other.lines.some(({ progress }) => progress?.state === "fetching");
  await until("the other took over", taken, 40_000);
  frozen.kill("SIGCONT");
  const [late] = await Promise.all([outcomeOf(frozen), expectDone(other)]);
  // It stops, because it lost the lease, or finds all done.
  expect([undefined, "LEASE_LOST"]).toContain(late.error?.code);
  expectNothingWrong();
  expect(differences(snapshot(), files)).toEqual([]);
});
