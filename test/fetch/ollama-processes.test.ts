import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { type OllamaRegistry, startOllamaRegistry } from "../fakes/ollama-registry.ts";
import { seededBytes } from "../fakes/tiny-models.ts";
import { temporaryFolder } from "../store/temporary-folder.ts";
import { until } from "../until.ts";
import { modelSpec } from "./sync-context.ts";
import { filesBelow, outcomeOf, type SyncProcess, startSync } from "./volume.ts";

/** Ollama's store, filled by several processes at once, and by some that are killed. */

const MIB = 1 << 20;
const layers = { model: seededBytes(24 * MIB + 321, 1), projector: seededBytes(3 * MIB, 2), license: "MIT" };
const CONNECTIONS = 2;

let registry: OllamaRegistry;
let manifest: string;
let volume: string;
beforeAll(async () => {
  registry = await startOllamaRegistry();
  manifest = registry.addModel("library/tiny:latest", { layers });
  registry.addModel("library/tiny:8b", { layers });
});
beforeEach(() => {
  registry.reset();
  volume = temporaryFolder();
});
afterAll(() => registry[Symbol.asyncDispose]());

const spec = (name: string) => modelSpec(name, { source: "ollama", format: "gguf", engine: "ollama" });
const start = (...names: string[]) =>
  startSync(
    { endpoint: "http://127.0.0.1:9", registries: [registry.url], volume, connections: CONNECTIONS },
    (names.length > 0 ? names : ["tiny"]).map(spec),
  );
const sha256 = (content: Uint8Array | string) => createHash("sha256").update(content).digest("hex");
const at = (path: string) => join(volume, "ollama", path);
const MANIFEST = "manifests/registry.ollama.ai/library/tiny/latest";
const told = ({ lines }: SyncProcess) => lines.findLast(({ progress }) => progress)?.progress?.bytesDone ?? 0;

/** What holds at every moment: blobs are what their names say, and a manifest has all of its own. */
function expectNothingWrong(): void {
  for (const name of existsSync(at("blobs")) ? readdirSync(at("blobs")) : [])
    expect(`sha256-${sha256(readFileSync(at(`blobs/${name}`)))}`).toBe(name);
  if (!existsSync(at("manifests"))) return;
  const paths = filesBelow(at("manifests"));
  expect(paths.filter((path) => !/^registry\.ollama\.ai\/library\/tiny\/(latest|8b)$/.test(path))).toEqual([]);
  for (const path of paths) {
    expect(readFileSync(at(`manifests/${path}`), "utf8")).toBe(manifest);
    for (const [, hex] of manifest.matchAll(/"sha256:([0-9a-f]{64})"/g))
      expect(existsSync(at(`blobs/sha256-${hex}`))).toBe(true);
  }
}

async function expectDone(child: SyncProcess): Promise<number> {
  const { stored, fetchedBytes, error } = await outcomeOf(child);
  expect(error).toBeNull();
  expect(stored?.revision).toBe(sha256(manifest));
  expect(existsSync(at(MANIFEST))).toBe(true);
  expectNothingWrong();
  return fetchedBytes;
}

it("two at once: one fetches, the other waits and finds it", async () => {
  const gate = Promise.withResolvers<void>();
  registry.onRequest = ({ host, range }) =>
    host === "cdn" && !range?.startsWith("bytes=0-") ? gate.promise : undefined;
  const first = start();
  await until("the first fetches", () => told(first) > 0 || registry.requests.some(({ host }) => host === "cdn"));
  await until("it has the lease", () => existsSync(join(volume, ".muster", "leases")));
  const second = start();
  await until("the second waits", () => second.lines.some(({ note }) => note?.startsWith("Waiting for ")));
  gate.resolve();
  const fetched = await Promise.all([expectDone(first), expectDone(second)]);
  expect(fetched[1]).toBe(0);
});

it("two tags of the same content, by two processes at once", async () => {
  const [first, second] = [start("tiny"), start("tiny:8b")];
  await Promise.all([first.exited, second.exited]);
  for (const each of [first, second]) await expectDone(each);
  expect(filesBelow(at("manifests"))).toHaveLength(2);
});

it("killed again and again it goes on from there", async () => {
  registry.faults.bytesPerSecond = 12 * MIB;
  const total = layers.model.length + layers.projector.length;
  for (const share of [0.1, 0.4, 0.8]) {
    const child = start();
    await until(`${share} of it is there`, () => told(child) >= share * total || child.lines.at(-1)?.outcomes);
    child.kill("SIGKILL");
    expect((await child.exited).signal).toBe("SIGKILL");
    expectNothingWrong();
  }
  registry.faults = {};
  const fetched = await expectDone(start());
  expect(fetched).toBeLessThan(0.2 * total + CONNECTIONS * MIB);
});

it("killed while it publishes leaves a model whole or absent, and fetches nothing twice", async () => {
  const count = (folder: string) => (existsSync(at(folder)) ? filesBelow(at(folder)).length : 0);
  const moments = {
    "the first blob": () => count("blobs") > 0,
    "the last blob": () => count("blobs") === 4,
    "the manifest": () => count("manifests") > 0,
  };
  for (const [what, reached] of Object.entries(moments)) {
    volume = temporaryFolder();
    const child = start();
    await until(what, () => reached() || child.lines.at(-1)?.outcomes);
    child.kill("SIGKILL");
    await child.exited;
    expectNothingWrong();
    await expectDone(start());
  }
});
