import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import type { FileSpec } from "../../src/model.ts";
import { createLayout, type OllamaLayout } from "../../src/store/layout.ts";
import { type ModelStore, storeOf } from "../../src/store/model-store.ts";
import { temporaryFolder } from "./temporary-folder.ts";

let ollama: OllamaLayout;
let store: ModelStore;
beforeEach(() => {
  const volume = temporaryFolder();
  const layout = createLayout(volume, join(volume, "hub"), join(volume, "ollama"));
  ({ ollama } = layout);
  store = storeOf(layout, "ollama")!;
});

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
const at = (location: string, manifest: string) => ({
  location,
  requestedRevision: "main",
  revision: sha256(manifest),
});
/** A blob in its place. */
function blob(content: string): FileSpec {
  const hex = sha256(content);
  const file: FileSpec = { path: `blobs/sha256-${hex}`, size: content.length, digest: { algorithm: "sha256", hex } };
  mkdirSync(ollama.file("blobs"), { recursive: true });
  writeFileSync(ollama.file(file.path), content);
  return file;
}
const write = (path: string, text: string) => {
  mkdirSync(dirname(ollama.file(path)), { recursive: true });
  writeFileSync(ollama.file(path), text);
};
const manifests = () =>
  readdirSync(ollama.file("manifests"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name).slice(ollama.root.length + 1));

describe("where a manifest stands", () => {
  it.each([
    ["tiny", "manifests/registry.ollama.ai/library/tiny/latest"],
    ["Acme/Tiny:8B", "manifests/registry.ollama.ai/Acme/Tiny/8B"],
    ["hf.co/Acme/Tiny-GGUF:Q4_K_M", "manifests/hf.co/Acme/Tiny-GGUF/Q4_K_M"],
    ["http://localhost:5000/acme/tiny", "manifests/localhost:5000/acme/tiny/latest"],
  ])("%s", async (location, path) => {
    const text = '{"a": 1}\n';
    const files = [blob("weights")];
    const stored = await store.publish(at(location, text), files, text);
    expect(stored).toEqual([...files, { path, size: text.length, digest: { algorithm: "sha256", hex: sha256(text) } }]);
    expect(readFileSync(ollama.file(path), "utf8")).toBe(text);
    expect(statSync(ollama.file(path)).mode & 0o777).toBe(0o644);
    expect(manifests()).toEqual([path]);
  });

  it("in the spelling that is there, as Ollama looks names up; the exact one before others", async () => {
    write("manifests/registry.ollama.ai/Library/TINY/latest", "old");
    await store.publish(at("tiny", "{}"), [], "{}");
    expect(manifests()).toEqual(["manifests/registry.ollama.ai/Library/TINY/latest"]);
    expect(await store.isFinished(at("Tiny:LATEST", "{}"))).toBe(true);
    write("manifests/registry.ollama.ai/Library/tiny/latest", "other");
    expect(await store.isFinished(at("tiny", "other"))).toBe(true);
  });
});

it("a model is finished while its manifest is the one of its revision", async () => {
  const model = at("tiny", "{}");
  expect(await store.isFinished(model)).toBe(false);
  await store.publish(model, [], "{}");
  expect(await store.isFinished(model)).toBe(true);
  write("manifests/registry.ollama.ai/library/tiny/latest", "[]");
  expect(await store.isFinished(model)).toBe(false);
});

it("what is there already is not written again; blobs count as young", async () => {
  const files = [blob("weights")];
  await store.publish(at("tiny", "{}"), files, "{}");
  const path = ollama.file("manifests/registry.ollama.ai/library/tiny/latest");
  const before = statSync(path).ino;
  utimesSync(ollama.file(files[0]!.path), 1, 1);
  await store.publish(at("tiny", "{}"), files, "{}");
  expect(statSync(path).ino).toBe(before);
  expect(Date.now() - statSync(ollama.file(files[0]!.path)).mtimeMs).toBeLessThan(3_600_000);
});

it("a blob that went away meanwhile is told of, and no manifest names it", async () => {
  const files = [blob("weights"), blob("license")];
  rmSync(ollama.file(files[1]!.path));
  await expect(store.publish(at("tiny", "{}"), files, "{}")).rejects.toMatchObject({
    code: "STORE_CHANGED",
    hint: expect.stringContaining("OLLAMA_NOPRUNE=1"),
  });
  expect(readdirSync(ollama.root).toSorted()).toEqual([".muster", "blobs"]);
});

it("folders that a starting server removes are made again, and nothing temporary is left", async () => {
  const folder = ollama.file("manifests/registry.ollama.ai/library/tiny");
  let going = true;
  let left = 0;
  const remover = (async () => {
    while (going) {
      try {
        // As Ollama does with empty folders, a few times for each manifest.
        if (left > 0) rmdirSync(folder);
        left -= 1;
      } catch {}
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  for (let round = 0; round < 20; round += 1) {
    rmSync(ollama.file("manifests"), { recursive: true, force: true });
    left = 3;
    await store.publish(at("tiny", `{"round":${round}}`), [], `{"round":${round}}`);
  }
  going = false;
  await remover;
  expect(manifests()).toHaveLength(1);
  expect(readdirSync(ollama.file(".muster"))).toEqual(["lease"]);
});
