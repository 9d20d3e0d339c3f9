import { chmodSync, existsSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Hub, startHub } from "../../fakes/hub/hub.ts";
import { seededBytes } from "../../fakes/tiny-models.ts";
import { bindMount, mountFailingDisk, mountThinDisk, mountTmpfs, remountReadOnly } from "../../store/mount.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";
import { modelSpec, type SyncInput } from "../sync-context.ts";
import { bytesOf, differences, outcomeOf, startSync, sync, wrongBlobs } from "../volume.ts";

const MIB = 1 << 20;
const files = {
  "config.json": '{"model_type":"none"}',
  "tokenizer.json": "t".repeat(100_000),
  "model.safetensors": seededBytes(10 * MIB + 321, 1),
};
const total = Object.values(files).reduce((sum, source) => sum + bytesOf(source).length, 0);
const specs = [modelSpec("acme/model")];
const isRoot = process.getuid?.() === 0;
/** Somebody without rights on what the test made. */
const NOBODY: [number, number] = [12345, 23456];

let hub: Hub;
beforeAll(async () => {
  hub = await startHub({ repos: [{ id: "acme/model", files }] });
});
beforeEach(() => hub.reset());
afterAll(() => hub.close());

const input = (volume: string, change: Partial<SyncInput> = {}): SyncInput => ({
  endpoint: hub.url,
  volume,
  ...change,
});
const repoOn = (volume: string) => join(volume, "huggingface", "hub", "models--acme--model");
const fileRequests = () => hub.requests.filter(({ path }) => path.includes("safetensors"));

describe("a disk without room", () => {
  it("is told before the first byte: what is needed, what there is, and what to do", async () => {
    const volume = temporaryFolder();
    const { outcome } = await sync(input(volume, { minFreeBytes: 2 ** 60 }), specs);
    expect(outcome.error).toMatchObject({
      code: "DISK_FULL",
      details: { needBytes: total, haveBytes: expect.any(Number) },
      hint: expect.stringContaining("muster sync"),
    });
    expect(outcome.error!.message).toMatch(/acme\/model needs 10\.6 MB, and .* has 0\.0 MB to spare/);
    expect(fileRequests()).toEqual([]);
    expect(readdirSync(join(repoOn(volume), "blobs"))).toEqual([]);
  });

  it("is reckoned with only what is missing", async ({ skip }) => {
    const volume = mountTmpfs(16 * MIB, skip);
    const enough = 16 * MIB - total - 64 * 1024;
    expect((await sync(input(volume, { minFreeBytes: enough + 2 * MIB }), specs)).outcome.error?.code).toBe(
      "DISK_FULL",
    );
    expect((await sync(input(volume, { minFreeBytes: enough }), specs)).outcome.error).toBeNull();
    // Complete, it needs no room at all; without its smallest file only that.
    expect((await sync(input(volume, { minFreeBytes: 2 ** 60 }), specs)).outcome.error).toBeNull();
    truncateSync(join(statSnapshot(volume), "tokenizer.json"), 0);
    const { outcome } = await sync(input(volume, { minFreeBytes: 2 ** 60 }), specs);
    expect(outcome.error?.details).toMatchObject({ needBytes: files["tokenizer.json"].length });
    expect((await sync(input(volume, { minFreeBytes: enough }), specs)).outcome.error).toBeNull();
  });

  it("is shared among models that are fetched at once", async ({ skip }) => {
    const volume = mountTmpfs(16 * MIB, skip);
    hub.addRepo({ id: "acme/other", files: { ...files, "model.safetensors": seededBytes(10 * MIB, 2) } });
    const { outcomes } = await sync(input(volume), [modelSpec("acme/model"), modelSpec("acme/other")]);
    const codes = outcomes.map(({ error }) => error?.code ?? null);
    expect(codes.toSorted()).toEqual(["DISK_FULL", null]);
    const refused = outcomes.find(({ error }) => error)!;
    expect(refused.error!.message).toContain("promised to others");
  });

  it("that fills up in the middle keeps what was fetched, and goes on when there is room", async ({ skip }) => {
    const volume = mountTmpfs(16 * MIB, skip);
    const filler = join(volume, "filler");
    // Somebody else takes the room once the weights are asked for.
    hub.onRequest = ({ host }) => {
      if (host === "cdn" && !existsSync(filler)) writeFileSync(filler, Buffer.alloc(9 * MIB));
    };
    const { outcome } = await sync(input(volume), specs);
    expect(outcome.error).toMatchObject({ code: "DISK_FULL", hint: expect.stringContaining("muster sync") });
    expect(outcome.error!.message).toContain("kept");
    expect(wrongBlobs(repoOn(volume))).toEqual([]);
    expect(readdirSync(join(repoOn(volume), "snapshots"))).toEqual([]);

    rmSync(filler);
    hub.reset();
    const again = await sync(input(volume), specs);
    expect(again.outcome.error).toBeNull();
    expect(differences(again.outcome.stored!.path, files)).toEqual([]);
    // Of some 7 MiB that fitted at most what was not noted yet came again.
    expect(again.outcome.fetchedBytes).toBeLessThan(total - 4 * MIB);
  });
});

describe("a disk that fails", () => {
  const expectNothing = (volume: string) => {
    const blobs = join(repoOn(volume), "blobs");
    const shown = existsSync(blobs) ? readdirSync(blobs) : [];
    expect(shown.filter((name) => name.length === 64)).toEqual([]);
    expect(readdirSync(join(repoOn(volume), "snapshots"))).toEqual([]);
    expect(existsSync(join(repoOn(volume), "refs"))).toBe(false);
  };

  it("only when bytes are to reach it (EIO) gives nothing its name, and keeps nothing", async ({ skip }) => {
    const volume = mountFailingDisk({ megabytes: 64, works: 8 }, skip);
    const { error } = await outcomeOf(startSync(input(volume), specs));
    expect(error).toMatchObject({ code: "VOLUME_NOT_WRITABLE", hint: expect.stringContaining("dmesg") });
    expect(error!.message).toContain("EIO");
    expectNothing(volume);
    // What may not have reached the disk is not gone on from.
    const ingest = join(repoOn(volume), ".muster", "ingest");
    expect(readdirSync(ingest).filter((name) => name.endsWith(".journal"))).toEqual([]);
  });

  it("because there is less of it than it says (ENOSPC) gives nothing its name", async ({ skip }) => {
    const volume = mountThinDisk({ megabytes: 64, holds: 8 }, skip);
    const { error } = await outcomeOf(startSync(input(volume), specs));
    expect(error).toMatchObject({ code: "DISK_FULL", hint: expect.stringContaining("muster sync") });
    expectNothing(volume);
  });

  it("by allowing no file as large (EFBIG) says which limit it is, and goes on without it", async () => {
    const volume = temporaryFolder();
    // In units of 512 bytes.
    const { error } = await outcomeOf(startSync(input(volume), specs, { before: "ulimit -f 8192" }));
    expect(error).toMatchObject({ code: "VOLUME_NOT_WRITABLE", hint: expect.stringContaining("ulimit -f") });
    expectNothing(volume);
    const again = await outcomeOf(startSync(input(volume), specs));
    expect(again.error).toBeNull();
    expect(differences(again.stored!.path, files)).toEqual([]);
  });
});

describe("a volume that cannot be written", () => {
  it("is enough where everything is there", async ({ skip }) => {
    const volume = mountTmpfs(32 * MIB, skip);
    expect((await sync(input(volume), specs)).outcome.error).toBeNull();
    remountReadOnly(volume);
    hub.reset();
    const { outcome } = await sync(input(volume), specs);
    expect(outcome.error).toBeNull();
    expect(differences(outcome.stored!.path, files)).toEqual([]);
    expect(hub.requests).toEqual([]);
  });

  it("is told as read-only where something is missing", async ({ skip }) => {
    const volume = mountTmpfs(32 * MIB, skip);
    expect((await sync(input(volume), specs)).outcome.error).toBeNull();
    rmSync(join(statSnapshot(volume), "config.json"));
    remountReadOnly(volume);
    const { outcome } = await sync(input(volume), specs);
    expect(outcome.error).toMatchObject({ code: "VOLUME_READ_ONLY", hint: expect.stringContaining("writable") });
    const empty = mountTmpfs(32 * MIB, skip);
    remountReadOnly(empty);
    expect((await sync(input(empty), specs)).outcome.error).toMatchObject({ code: "VOLUME_READ_ONLY" });
  });

  it("because it is another's is told with the ids and the chown", async () => {
    const volume = temporaryFolder();
    chmodSync(volume, 0o555);
    const { error } = await outcomeOf(startSync(input(volume), specs, isRoot ? { user: NOBODY } : {}));
    const id = isRoot ? NOBODY.join(":") : `${process.getuid!()}:${process.getgid!()}`;
    expect(error).toMatchObject({ code: "VOLUME_NOT_WRITABLE" });
    expect(error!.message).toContain(`as ${id}`);
    expect(error!.hint).toContain(`chown -R ${id} `);
    expect(hub.requests).toEqual([]);
  });

  it("in the place of the cache only is told in the same way", async () => {
    const volume = temporaryFolder();
    chmodSync(volume, 0o777);
    const hubCache = temporaryFolder();
    chmodSync(hubCache, 0o555);
    const { error } = await outcomeOf(startSync(input(volume, { hubCache }), specs, isRoot ? { user: NOBODY } : {}));
    expect(error).toMatchObject({ code: "VOLUME_NOT_WRITABLE" });
    expect(fileRequests()).toEqual([]);
  });
});

describe("a cache elsewhere", () => {
  it("on another file system is filled there", async ({ skip }) => {
    const volume = temporaryFolder();
    const hubCache = mountTmpfs(32 * MIB, skip);
    const { outcome } = await sync(input(volume, { hubCache }), specs);
    expect(outcome.error).toBeNull();
    expect(differences(outcome.stored!.path, files)).toEqual([]);
    expect(outcome.stored!.path.startsWith(hubCache)).toBe(true);
  });

  it("on another mount of the same device is filled there", async ({ skip }) => {
    const volume = temporaryFolder();
    const source = temporaryFolder();
    const hubCache = bindMount(source, skip);
    expect(statSync(hubCache).dev).toBe(statSync(volume).dev);
    const { outcome } = await sync(input(volume, { hubCache }), specs);
    expect(outcome.error).toBeNull();
    expect(differences(join(source, outcome.stored!.path.slice(hubCache.length)), files)).toEqual([]);
  });

  it("on a mount of its own within the volume is filled there", async ({ skip }) => {
    const volume = temporaryFolder();
    const source = temporaryFolder();
    const hubCache = bindMount(source, skip, join(volume, "huggingface"));
    const { outcome } = await sync(input(volume, { hubCache }), specs);
    expect(outcome.error).toBeNull();
    expect(differences(outcome.stored!.path, files)).toEqual([]);
  });
});

it("fetches anew what another left and this one may not read", async ({ skip }) => {
  if (!isRoot || !isPublic(import.meta.dirname)) skip("needs root, and a checkout that others can read");
  const volume = temporaryFolder();
  const first = await sync(input(volume), specs);
  rmSync(join(volume, ".muster"), { recursive: true });
  for (const path of ["", ...readdirSync(volume, { recursive: true }).map(String)]) {
    if (statSync(join(volume, path)).isDirectory()) chmodSync(join(volume, path), 0o777);
  }
  chmodSync(join(first.outcome.stored!.path, "model.safetensors"), 0o600);
  const { error, stored, fetchedBytes } = await outcomeOf(startSync(input(volume), specs, { user: NOBODY }));
  expect(error).toBeNull();
  expect(fetchedBytes).toBe(files["model.safetensors"].length);
  expect(differences(stored!.path, files)).toEqual([]);
});

function statSnapshot(volume: string): string {
  const snapshots = join(repoOn(volume), "snapshots");
  return join(snapshots, readdirSync(snapshots)[0]!);
}

/** Whether everybody may read what is in the folder. */
function isPublic(folder: string): boolean {
  return (statSync(folder).mode & 0o005) === 0o005 && (folder === dirname(folder) || isPublic(dirname(folder)));
}
