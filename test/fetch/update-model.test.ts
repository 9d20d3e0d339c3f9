import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { mapSome } from "../../src/fetch/map-some.ts";
import { checkFiles, isChanging } from "../../src/fetch/verify/check-model.ts";
import type { ModelSpec } from "../../src/model.ts";
import { keptRevisions } from "../../src/store/kept-revisions.ts";
import { createLayout } from "../../src/store/layout.ts";
import { isComplete, listManifests, manifestKey, readManifest } from "../../src/store/manifest.ts";
import { type Hub, startHub } from "../fakes/hub/hub.ts";
import { type OllamaRegistry, startOllamaRegistry } from "../fakes/ollama-registry.ts";
import { causalLmRepo, seededBytes } from "../fakes/tiny-models.ts";
import { modelSpec, openTransfer, type SyncInput, type Transfer } from "./sync-context.ts";
import { sync } from "./volume.ts";

const KIB = 1 << 10;
/** More changes than any update makes. */
const MOST = 60;

let hub: Hub;
let registry: OllamaRegistry;
let transfer: Transfer;
let folder: string;

/** Each has an earlier revision on its volume, and a later one at its source. */
const SOURCES: Record<string, { spec: ModelSpec; move: () => void }> = {
  huggingface: {
    spec: modelSpec("acme/tiny"),
    move: () => hub.updateRepo("acme/tiny", { "config.json": '{"model_type":"llama","moved":true}', "new.json": "{}" }),
  },
  ollama: {
    spec: modelSpec("chat", { source: "ollama", format: "gguf", engine: "ollama" }),
    move: () => void registry.addModel("library/chat:latest", { layers: { model: seededBytes(30 * KIB, 8) } }),
  },
  path: {
    spec: modelSpec("/set/below", { source: "path" }),
    move: () => {
      rmSync(join(folder, "source"), { recursive: true });
      cpSync(join(folder, "later"), join(folder, "source"), { recursive: true });
    },
  },
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "muster-test-"));
  hub = await startHub({ repos: [{ id: "acme/tiny", files: causalLmRepo("acme/tiny", { sizeBytes: 40 * KIB }) }] });
  registry = await startOllamaRegistry();
  registry.addModel("library/chat:latest", { layers: { model: seededBytes(20 * KIB, 5) } });
  for (const [name, config] of [
    ["source", "{}"],
    ["later", '{"later":true}'],
  ] as const) {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, "config.json"), config);
    writeFileSync(join(folder, name, "model.safetensors"), "w".repeat(400 * KIB));
  }
  SOURCES.path!.spec = modelSpec(join(folder, "source"), { source: "path" });
  transfer = openTransfer(inputAt("any"));
});
afterAll(async () => {
  await Promise.all([hub.close(), registry[Symbol.asyncDispose](), transfer[Symbol.asyncDispose]()]);
  rmSync(folder, { recursive: true });
});

const inputAt = (name: string): SyncInput => ({
  endpoint: hub.url,
  registries: [registry.url],
  volume: join(folder, name),
});
const layoutAt = (name: string) => {
  const { volume } = inputAt(name);
  return createLayout(volume, join(volume, "huggingface/hub"), join(volume, "ollama"));
};

/** In a process of its own; `killAt`: 0 for one that ends by itself. */
async function update(name: string, spec: ModelSpec, killAt: number) {
  const fixture = fileURLToPath(new URL("./fixtures/update-process.ts", import.meta.url));
  const order = JSON.stringify({ input: inputAt(name), spec, killAt });
  const child = spawn(process.execPath, [fixture, order], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.on("data", (data) => {
    text += data;
  });
  const [, signal] = await once(child, "close");
  return { signal, revision: text === "" ? null : (JSON.parse(text) as { revision: string }).revision };
}

/** What `muster verify` finds. */
async function wrongFiles(name: string): Promise<string[]> {
  const layout = layoutAt(name);
  const wrong: string[] = [];
  for (const model of await listManifests(layout)) {
    const found = await checkFiles(model, model.files, { layout, lanes: transfer.lanes });
    if (found.length > 0 && !(await isChanging(model, found, layout)))
      wrong.push(...found.map(({ file, what }) => `${model.key}: ${file.path} ${what}`));
  }
  return wrong;
}

describe("an update that is killed before any of its changes", () => {
  it.each(Object.keys(SOURCES))(
    "leaves a model that is right and can be had: %s",
    async (source) => {
      const { spec, move } = SOURCES[source]!;
      const key = manifestKey(spec.variant);
      const start = inputAt(`${source}-before`);
      const before = (await sync(start, [spec])).outcome.stored!.revision;
      move();
      let after: string | null = null;
      const left = new Set<string>();
      const kills = Array.from({ length: MOST }, (_, index) => index + 1);
      await mapSome(kills, 3, async (killAt) => {
        if (after !== null) return;
        const name = `${source}-${killAt}`;
        const layout = layoutAt(name);
        cpSync(start.volume, inputAt(name).volume, { recursive: true, verbatimSymlinks: true });
        const killed = await update(name, spec, killAt);
        if (killed.revision === null) expect(killed.signal).toBe("SIGKILL");
        else after = killed.revision;
        expect(await wrongFiles(name)).toEqual([]);
        const { outcome } = await sync(inputAt(name), [spec]);
        expect(outcome.error).toBeNull();
        left.add(outcome.stored!.revision);
        expect(await wrongFiles(name)).toEqual([]);
        const { revision } = await update(name, spec, 0);
        expect(revision).not.toBe(before);
        const record = await readManifest(layout, key);
        expect(record?.revision).toBe(revision);
        expect(await isComplete(layout, record!)).toBe(true);
        expect((await keptRevisions(layout, key)).map((kept) => kept.revision)).toEqual([before]);
        expect(await listManifests(layout)).toHaveLength(2);
        if (source === "huggingface") {
          expect(readFileSync(layout.hub.ref("acme/tiny", "main"), "utf8")).toBe(revision);
          expect(existsSync(join(layout.hub.snapshot("acme/tiny", before), "config.json"))).toBe(true);
        }
        rmSync(inputAt(name).volume, { recursive: true });
      });
      // Some were killed before the model changed, some after that, and one was not.
      expect(left).toEqual(new Set([before, after]));
    },
    240_000,
  );
});
