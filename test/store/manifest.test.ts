import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, it } from "vitest";
import type { FileSpec, StoredModel } from "../../src/model.ts";
import { publishSnapshot, writeRef } from "../../src/store/hub-cache.ts";
import { createLayout, type Layout } from "../../src/store/layout.ts";
import {
  findComplete,
  isComplete,
  listManifests,
  manifestKey,
  missingFiles,
  readManifest,
  writeManifest,
} from "../../src/store/manifest.ts";
import { modelSpec } from "../fetch/sync-context.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const { variant } = modelSpec("acme/tiny");

let volume: string;
let layout: Layout;
let model: StoredModel;
beforeEach(async () => {
  volume = join(temporaryFolder(), "models");
  layout = layoutOf(volume);
  model = await store(layout);
});

const layoutOf = (folder: string) => createLayout(folder, join(folder, "huggingface", "hub"), join(folder, "ollama"));

/** Puts a model on the volume in the order in which fetching does. */
async function store({ hub }: Layout): Promise<StoredModel> {
  const files = ["config.json", "deep/model.safetensors"].map((path): FileSpec => {
    const digest = { algorithm: "sha256", hex: createHash("sha256").update(path).digest("hex") } as const;
    mkdirSync(join(hub.repo("acme/tiny"), "blobs"), { recursive: true });
    writeFileSync(hub.blob("acme/tiny", digest), path);
    return { path, size: path.length, digest };
  });
  await publishSnapshot(hub, "acme/tiny", COMMIT, files);
  const record = { source: "huggingface", location: "acme/tiny", revision: COMMIT } as const;
  const stored: StoredModel = {
    ...record,
    key: manifestKey(variant),
    requestedRevision: "main",
    path: layout.hub.snapshot(record.location, record.revision),
    files,
    bytes: files.reduce((sum, { size }) => sum + size, 0),
    license: "mit",
    quantization: null,
    manifest: null,
    storedAt: "2026-01-01T00:00:00.000Z",
  };
  await writeManifest(layout, stored);
  await writeRef(hub, "acme/tiny", "main", COMMIT);
  return stored;
}

const place = (path: string) => join(model.path, path);
const recordPath = () => layout.manifest(model.key);

it("finds a model that is complete", async () => {
  expect(await findComplete(layout, variant)).toEqual(model);
  expect(await readManifest(layout, model.key)).toEqual(model);
  expect(await missingFiles(model)).toEqual([]);
  expect(await listManifests(layout)).toEqual([model]);
});

it("misses a file that is gone, and one of another size", async () => {
  rmSync(place("config.json"));
  expect([await missingFiles(model), await isComplete(layout, model)]).toEqual([["config.json"], false]);
  truncateSync(place("deep/model.safetensors"), 3);
  expect(await missingFiles(model)).toEqual(["config.json", "deep/model.safetensors"]);
  expect(await findComplete(layout, variant)).toBeNull();
});

it("misses a file whose blob is gone", async () => {
  rmSync(layout.hub.blob("acme/tiny", model.files[0]!.digest));
  expect(await missingFiles(model)).toEqual(["config.json"]);
});

it("takes a model without its ref for unfinished, because the ref is written last", async () => {
  rmSync(layout.hub.ref("acme/tiny", "main"));
  expect(await findComplete(layout, variant)).toBeNull();
  // A model that was asked for by its commit has none.
  expect(await isComplete(layout, { ...model, requestedRevision: COMMIT })).toBe(true);
});

it("takes a record that cannot be understood for none", async () => {
  const good = readFileSync(recordPath(), "utf8");
  const record = JSON.parse(good) as Record<string, unknown>;
  const broken: string[] = ["", "null", "[]", good.slice(0, -10), "\0".repeat(good.length)];
  for (const change of [
    { formatVersion: 2 },
    { files: undefined },
    { files: [{ path: "a", size: -1, digest: model.files[0]!.digest }] },
    { files: [{ path: "a", size: 1, digest: { algorithm: "md5", hex: "00" } }] },
    { source: "elsewhere" },
    { revision: 7 },
  ]) {
    broken.push(JSON.stringify({ ...record, ...change }));
  }
  for (const text of broken) {
    writeFileSync(recordPath(), text);
    expect([await readManifest(layout, model.key), await findComplete(layout, variant)], text).toEqual([null, null]);
    expect(await listManifests(layout)).toEqual([]);
  }
  rmSync(recordPath());
  mkdirSync(recordPath());
  expect(await findComplete(layout, variant)).toBeNull();
});

it("finds the model again where the volume is mounted elsewhere", async () => {
  const elsewhere = join(volume, "..", "mnt");
  renameSync(volume, elsewhere);
  const there = layoutOf(elsewhere);
  const found = await findComplete(there, variant);
  expect(found).toEqual({ ...model, path: join(elsewhere, model.path.slice(volume.length)) });
  expect(readFileSync(join(found!.path, "config.json"), "utf8")).toBe("config.json");
  expect(await findComplete(layout, variant)).toBeNull();
});

it("keeps a record for each choice of files of a repository, whatever the catalog calls them", async () => {
  const keys = [
    variant,
    { ...variant, revision: "v1" },
    { ...variant, location: "acme--tiny" },
    { ...variant, quantization: "q4" },
    { ...variant, include: ["*.json"] },
    { ...variant, exclude: ["*.json"] },
    { ...variant, allowPickle: true },
    { ...variant, format: "gguf" as const },
  ].map(manifestKey);
  expect(new Set(keys).size).toBe(keys.length);
  expect(manifestKey({ ...variant, id: "other", minGpuMemoryGb: 99 })).toBe(manifestKey(variant));
  for (const key of keys) expect(key).toMatch(/^[\w.@%-]{1,200}$/);
});

it("lists what can be read, and nothing where there is nothing", async () => {
  await writeManifest(layout, { ...model, key: "another" });
  writeFileSync(join(layout.manifests, "broken.json"), "{");
  writeFileSync(join(layout.manifests, "another.json.1234.tmp"), "{");
  expect((await listManifests(layout)).map(({ key }) => key).sort()).toEqual(["another", model.key].sort());
  expect(await listManifests(layoutOf(temporaryFolder()))).toEqual([]);
});

it("leaves nothing beside the record", async () => {
  await Promise.all(Array.from({ length: 10 }, () => writeManifest(layout, model)));
  expect(readdirSync(layout.manifests)).toEqual([`${model.key}.json`]);
  expect(await findComplete(layout, variant)).toEqual(model);
});
