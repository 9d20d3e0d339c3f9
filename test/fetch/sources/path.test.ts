import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { beforeEach, describe, expect, it } from "vitest";
import type { FileSource } from "../../fakes/hub/hub.ts";
import { causalLmRepo, seededBytes } from "../../fakes/tiny-models.ts";
import { mountTmpfs, remountReadOnly } from "../../store/mount.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";
import { until } from "../../until.ts";
import { modelSpec } from "../sync-context.ts";
import { bytesOf, differences, filesBelow, outcomeOf, startSync, sync } from "../volume.ts";

const MIB = 1 << 20;
const files: Record<string, FileSource> = {
  ...causalLmRepo("acme/tiny", { shards: 2, sizeBytes: 3 * MIB }),
  "extra/notes one.json": "{}",
  "same-a.json": '{"same":1}',
  "extra/same-b.json": '{"same":1}',
};
const wanted = Object.fromEntries(Object.entries(files).filter(([path]) => path !== ".gitattributes"));
const WEIGHTS = Object.keys(files).find((path) => path.endsWith(".safetensors"))!;

let from: string;
let volume: string;
beforeEach(() => {
  from = temporaryFolder();
  volume = temporaryFolder();
  for (const [path, source] of Object.entries(files)) {
    mkdirSync(dirname(join(from, path)), { recursive: true });
    writeFileSync(join(from, path), bytesOf(source));
  }
});

const spec = (location = from) => modelSpec(location, { source: "path" });
const run = (change: object = {}, location = from) => sync({ endpoint: "", volume, ...change }, [spec(location)]);
const sum = (path: string) =>
  createHash("sha256")
    .update(readFileSync(join(from, path)))
    .digest("hex");

async function stored(change: object = {}, location = from) {
  const { outcome } = await run(change, location);
  expect(outcome.error).toBeNull();
  expect(differences(outcome.stored!.path, wanted)).toEqual([]);
  return outcome;
}

async function refused(location = from) {
  const { outcome } = await run({}, location);
  expect(outcome.stored).toBeNull();
  expect(existsSync(join(volume, "base-models"))).toBe(false);
  return outcome.error!;
}

describe("a folder", () => {
  it("becomes a folder of the volume, by its content's own revision; a second time nothing is read", async () => {
    const { stored: model, fetchedBytes } = await stored();
    expect(model!.path).toMatch(new RegExp(`^${volume}/base-models/path--.*/${model!.revision}$`));
    expect(model!.revision).toMatch(/^[0-9a-f]{64}$/);
    expect(fetchedBytes).toBeGreaterThan(3 * MIB);
    rmSync(from, { recursive: true });
    expect((await stored()).fetchedBytes).toBe(0);
    expect((await stored({ offline: true })).fetchedBytes).toBe(0);
  });

  it("may be named by a file:// URL", async () => {
    await stored({}, pathToFileURL(from).href);
  });

  it("gets another revision with other content", async () => {
    const { stored: before } = await stored();
    writeFileSync(join(from, "same-a.json"), '{"same":2}');
    const other = temporaryFolder();
    cpSync(from, other, { recursive: true });
    const { outcome } = await run({}, other);
    expect(outcome.stored!.revision).not.toBe(before!.revision);
  });

  it("is completed where a file of it is gone or cut short", async () => {
    const { stored: model } = await stored();
    rmSync(join(model!.path, "config.json"));
    rmSync(join(model!.path, WEIGHTS));
    writeFileSync(join(model!.path, WEIGHTS), "cut short");
    rmSync(join(model!.path, "same-a.json"));
    rmSync(join(model!.path, "extra/same-b.json"));
    const again = await stored();
    expect(again.stored!.revision).toBe(model!.revision);
    expect(again.fetchedBytes).toBeLessThan(model!.bytes);
  });

  it("is copied, never written to, whatever becomes of the copy", async () => {
    const { stored: model } = await stored();
    const before = sum(WEIGHTS);
    const copy = join(model!.path, WEIGHTS);
    // The same file where the file system can link and the owner is the same.
    expect([1, 2]).toContain(statSync(copy).nlink);
    rmSync(copy);
    writeFileSync(copy, "somebody else's");
    await stored();
    expect(sum(WEIGHTS)).toBe(before);
  });

  it("is copied byte for byte where a link could not be read by engines of other users", async () => {
    chmodSync(join(from, WEIGHTS), 0o640);
    const { stored: model } = await stored();
    expect(statSync(join(from, WEIGHTS)).mode & 0o777).toBe(0o640);
    expect(statSync(join(model!.path, WEIGHTS)).mode & 0o777).toBe(0o644);
    expect(statSync(join(from, WEIGHTS)).nlink).toBe(1);
  });

  it("on another file system is copied byte for byte", async ({ skip }) => {
    volume = mountTmpfs(16 * MIB, skip);
    const { stored: model } = await stored();
    expect(statSync(join(model!.path, WEIGHTS)).nlink).toBe(1);
    // And a read-only volume with everything on it serves.
    remountReadOnly(volume);
    expect((await stored()).fetchedBytes).toBe(0);
  });

  it("is taken by the checksums beside it, and what differs is refused by name", async () => {
    const lines = Object.keys(files).map((path) => `${sum(path)}  ./${path}\n`);
    writeFileSync(join(from, "SHA256SUMS"), `# ours\n${lines.join("")}`);
    const { stored: model } = await stored();
    expect(filesBelow(model!.path)).not.toContain("SHA256SUMS");
    writeFileSync(join(from, WEIGHTS), Buffer.alloc(statSync(join(from, WEIGHTS)).size));
    volume = temporaryFolder();
    const { outcome } = await run();
    expect(outcome.error).toMatchObject({ code: "DIGEST_MISMATCH", message: expect.stringContaining(WEIGHTS) });
    expect(filesBelow(join(volume, "base-models")).filter((path) => path.includes(WEIGHTS))).toEqual([]);
  });

  it("leaves out what is hidden, and follows links that stay inside", async () => {
    mkdirSync(join(from, ".cache"));
    writeFileSync(join(from, ".cache", "secret.json"), "{}");
    rmSync(join(from, "same-a.json"));
    symlinkSync("extra/same-b.json", join(from, "same-a.json"));
    const { stored: model } = await stored();
    expect(filesBelow(model!.path)).not.toContain(".cache/secret.json");
    expect(statSync(join(model!.path, "same-a.json")).isFile()).toBe(true);
  });

  it("may be a snapshot of a hub cache, whose links lead to the blobs beside it", async () => {
    const repo = temporaryFolder();
    const snapshot = join(repo, "snapshots", "a".repeat(40));
    mkdirSync(join(repo, "blobs"));
    for (const path of Object.keys(wanted)) {
      const blob = join(repo, "blobs", sum(path));
      if (!existsSync(blob)) linkSync(join(from, path), blob);
      mkdirSync(dirname(join(snapshot, path)), { recursive: true });
      symlinkSync(blob, join(snapshot, path));
    }
    await stored({}, snapshot);
  });
});

describe("refused, with the reason", () => {
  it.each<[string, () => string, string, RegExp]>([
    ["a folder that is not there", () => join(from, "nowhere"), "REPO_NOT_FOUND", /Mount/],
    ["a file", () => join(from, "config.json"), "REPO_NOT_FOUND", /Mount/],
    ["a relative path", () => "models/tiny", "REPO_NOT_FOUND", /file:\/\//],
    ["a URL of another machine", () => "file://host/models", "REPO_NOT_FOUND", /file:\/\//],
  ])("%s", async (_what, location, code, hint) => {
    expect(await refused(location())).toMatchObject({ code, hint: expect.stringMatching(hint) });
  });

  it("a link that leads outside, even to a file that could be read", async () => {
    const outside = join(temporaryFolder(), "passwords");
    writeFileSync(outside, "{}");
    symlinkSync(outside, join(from, "outside.json"));
    const error = await refused();
    expect(error).toMatchObject({ code: "FILE_NOT_FOUND", message: expect.stringContaining("outside.json") });
  });

  it("another revision than the catalog pins", async () => {
    const pinned = modelSpec(from, { source: "path", revision: "v2" });
    const { outcome } = await sync({ endpoint: "", volume }, [pinned]);
    expect(outcome.error).toMatchObject({ code: "REVISION_NOT_FOUND" });
  });

  it("a model that is missing while offline", async () => {
    const { outcome } = await run({ offline: true });
    expect(outcome.error).toMatchObject({ code: "OFFLINE_MISSING" });
  });

  it("a file that this user may not read", async ({ skip }) => {
    if (process.getuid?.() !== 0) return skip("only root can be somebody else");
    chmodSync(from, 0o755);
    chmodSync(join(from, WEIGHTS), 0o600);
    chmodSync(volume, 0o777);
    const child = startSync({ endpoint: "", volume }, [spec()], { user: [12345, 23456] });
    const { error } = await outcomeOf(child);
    expect(error).toMatchObject({ code: "ACCESS_REFUSED", message: expect.stringContaining(WEIGHTS) });
  });
});

describe("processes", () => {
  it("two at once: one copies, the other finds the record", async () => {
    const children = [startSync({ endpoint: "", volume }, [spec()]), startSync({ endpoint: "", volume }, [spec()])];
    const outcomes = await Promise.all(children.map(outcomeOf));
    expect(outcomes.map(({ error }) => error)).toEqual([null, null]);
    expect(outcomes.map(({ fetchedBytes }) => fetchedBytes).filter((bytes) => bytes > 0)).toHaveLength(1);
    expect(differences(outcomes[0]!.stored!.path, wanted)).toEqual([]);
  });

  it("a kill shows nothing half, and the next run goes on", async () => {
    for (let index = 0; index < 300; index += 1) writeFileSync(join(from, `part-${index}.json`), `{"n":${index}}`);
    writeFileSync(join(from, "model-big.safetensors"), bytesOf(seededBytes(40 * MIB, 3)));
    const child = startSync({ endpoint: "", volume }, [spec()]);
    const staged = () => existsSync(join(volume, "base-models", ".muster"));
    await until("it works", staged);
    child.kill("SIGKILL");
    await child.exited;
    const shown = existsSync(join(volume, ".muster", "models"));
    expect(shown).toBe(false);
    const { outcome } = await run();
    expect(outcome.error).toBeNull();
    expect(filesBelow(outcome.stored!.path)).toEqual(filesBelow(from).filter((path) => !path.startsWith(".")));
    expect(sum(WEIGHTS)).toBe(createHash("sha256").update(bytesOf(files[WEIGHTS]!)).digest("hex"));
  });
});
