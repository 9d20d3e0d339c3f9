import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, it, onTestFinished } from "vitest";
import { seededRandom } from "../../../scripts/seeded-random.ts";
import { createLayout } from "../../../src/store/layout.ts";
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

/** Of the model's lease, made. */
function leaseFolder(): string {
  const layout = createLayout(volume, join(volume, "huggingface", "hub"), join(volume, "ollama"));
  const folder = layout.lease("huggingface:acme/model");
  mkdirSync(folder, { recursive: true });
  return folder;
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

it("fetches each byte once when eight begin at once on an empty volume", async () => {
  const children = Array.from({ length: 8 }, start);
  const fetched = await Promise.all(children.map(expectDone));
  // Each byte was fetched by one of them; what they read for the plan, the small config.json, may come again.
  expect(fetched.reduce((sum, bytes) => sum + bytes, 0)).toBe(total);
  expect(hub.bytesServed() / total).toBeLessThanOrEqual(1.01);
});

it("killed at fifty moments goes on each time from there", async () => {
  const kills = 50;
  // What it compiled the others need not compile again.
  await expectDone(start());
  useNewVolume();
  // A seed makes a failure repeatable.
  const random = seededRandom(20_261_121).next;
  let lost = 0;
  let sentAtMost = 0;
  for (let kill = 0; kill < kills; kill += 1) {
    hub.reset();
    const before = keptBytes();
    // Each connection comes that far in its range, or the requests that far. There each body stops.
    const afterBytes = Math.floor(random() ** 2 * 450_000);
    const requests = random() < 0.3 ? Math.ceil(random() * 6) : Number.POSITIVE_INFINITY;
    Object.assign(hub.faults, { stallBody: { afterBytes, host: "cdn" } });
    const child = start();
    await until(
      `a body stops after ${afterBytes} bytes, or ${requests} requests came`,
      () =>
        hub.requests.length >= requests ||
        hub.requests.some(({ host, status, bytesSent }) => host === "cdn" && status > 0 && bytesSent >= afterBytes),
    );
    const said = told(child);
    await killed(child);
    const kept = keptBytes();
    // What it said it had is there, and so is all that was there before.
    expect(kept).toBeGreaterThanOrEqual(Math.max(said, before));
    lost += hub.bytesServed() - (kept - before);
    sentAtMost += CONNECTIONS * afterBytes + 2 * files["config.json"].length + files["tokenizer.json"].length;
  }
  const kept = keptBytes();
  expect(kept).toBeGreaterThan(MIB);
  expect(kept, "something is left to the last").toBeLessThan(total);
  hub.reset();
  expect(await expectDone(start())).toBe(total - kept);
  // A kill costs at most the answers that were under way.
  expect(lost).toBeLessThanOrEqual(sentAtMost);
}, 180_000);

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

it("waits for a holder, whatever that one's clock says, and goes on when it lets go", async () => {
  for (const since of ["1970-01-01T00:00:00.000Z", "2999-01-01T00:00:00.000Z"]) {
    useNewVolume();
    hub.reset();
    const path = join(leaseFolder(), "000000000001");
    const hold = (released: boolean) => {
      // On another host: whether that one still runs only its beats tell.
      const holder = { host: "elsewhere", what: "acme/model", since };
      const content = { token: "another's", holder, process: null, beat: 1, released };
      writeFileSync(path, JSON.stringify(content).padEnd(1024));
    };
    hold(false);
    const child = start();
    await until("it waits", () => child.lines.some(({ note }) => note?.includes(`since ${since}`)));
    expect(hub.requests).toEqual([]);
    hold(true);
    expect(await expectDone(child)).toBe(total);
  }
});

it("of two thousand files says nothing to its error output", async () => {
  const many = Object.fromEntries(Array.from({ length: 2000 }, (_, index) => [`part/${index}.txt`, `file ${index}`]));
  hub.addRepo({ id: "acme/many", files: many });
  const child = startSync({ endpoint: hub.url, volume, connections: 4 }, [modelSpec("acme/many")]);
  const { stored, error } = await outcomeOf(child);
  expect(error).toBeNull();
  // Such as that too many listen to something.
  expect((await child.exited).stderr).toBe("");
  expect(differences(stored!.path, many)).toEqual([]);
});
