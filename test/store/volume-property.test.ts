import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { planBundle } from "../../src/fetch/bundle/bundle-plan.ts";
import { exportFile } from "../../src/fetch/bundle/export-file.ts";
import { startHash } from "../../src/fetch/hash-file.ts";
import { syncModels } from "../../src/fetch/sync-models.ts";
import type { StoredModel } from "../../src/model.ts";
import { createLayout, type Layout } from "../../src/store/layout.ts";
import { isComplete, listManifests, readManifest } from "../../src/store/manifest.ts";
import { type Hub, startHub } from "../fakes/hub/hub.ts";
import { type OllamaRegistry, startOllamaRegistry } from "../fakes/ollama-registry.ts";
import { causalLmRepo, seededBytes } from "../fakes/tiny-models.ts";
import { modelSpec, openTransfer, type SyncInput, syncContext } from "../fetch/sync-context.ts";
import type { VolumeOrder } from "./fixtures/volume-process.ts";

const PROCESSES = 3;
const KIB = 1 << 10;
const LIMIT_MS = 20_000;

let hub: Hub;
let registry: OllamaRegistry;
/** Revisions of models, the latest last. */
let commits: Record<string, string[]>;
/** All of these models, as `muster export` writes them. */
let bundle: string;
let processes: {
  child: ChildProcessWithoutNullStreams;
  ask: (order: VolumeOrder, input: SyncInput) => Promise<unknown>;
}[];

/** Two choices of one repository share its snapshot, two repositories a file, two Ollama models a layer. */
const specs = [
  modelSpec("acme/tiny"),
  modelSpec("acme/tiny", { exclude: ["tokenizer*"] }),
  modelSpec("acme/twin"),
  modelSpec("chat", { source: "ollama", format: "gguf", engine: "ollama" }),
  modelSpec("vision", { source: "ollama", format: "gguf", engine: "ollama" }),
];

beforeAll(async () => {
  const shared = seededBytes(300 * KIB, 9);
  const files = (id: string) => ({ ...causalLmRepo(id, { sizeBytes: 40 * KIB }), "model-00003.safetensors": shared });
  hub = await startHub();
  const repos = ["acme/tiny", "acme/twin"];
  // Each has a revision before the one that its branch names.
  const first = repos.map((id) => hub.addRepo({ id, files: files(id) }).commit);
  const second = repos.map((id) => hub.updateRepo(id, { "config.json": "{}" }).commit);
  commits = Object.fromEntries(repos.map((id, index) => [id, [first[index]!, second[index]!]]));
  registry = await startOllamaRegistry();
  const layer = seededBytes(300 * KIB, 4);
  const tags = [7, 5].map((seed) =>
    registry.addModel("library/chat:latest", { layers: { model: seededBytes(20 * KIB, seed), projector: layer } }),
  );
  commits.chat = tags.map((text) => createHash("sha256").update(text).digest("hex"));
  registry.addModel("library/vision:latest", { layers: { model: seededBytes(20 * KIB, 6), projector: layer } });
  bundle = mkdtempSync(join(tmpdir(), "muster-property-bundle-"));
  await exportAll(join(bundle, "volume"), join(bundle, "all.tar"));
  const fixture = fileURLToPath(new URL("./fixtures/volume-process.ts", import.meta.url));
  processes = Array.from({ length: PROCESSES }, () => {
    const child = spawn(process.execPath, [fixture]);
    child.stderr.pipe(process.stderr);
    const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const ask = async (order: VolumeOrder, input: SyncInput) => {
      child.stdin.write(`${JSON.stringify({ order, input })}\n`);
      const { value } = await answers.next();
      return (JSON.parse(String(value)) as { problem: unknown }).problem;
    };
    return { child, ask };
  });
});
/** At the end of the time a run may still be on its way. */
let lastRun: Promise<void> = Promise.resolve();
afterAll(async () => {
  await lastRun;
  for (const { child } of processes) child.kill("SIGKILL");
  rmSync(bundle, { recursive: true, force: true });
  await Promise.all([hub.close(), registry[Symbol.asyncDispose]()]);
});

async function exportAll(volume: string, path: string): Promise<void> {
  const input = { endpoint: hub.url, volume, registries: [registry.url] };
  await using transfer = openTransfer(input);
  const context = syncContext(input, transfer);
  await syncModels(specs, context, { onProgress: () => undefined, onNote: () => undefined });
  const plan = planBundle(await listManifests(context.layout));
  expect(plan.models).toHaveLength(specs.length);
  const target = { path, partSize: null, zstd: false, mayReplace: async () => false };
  const told = { onPlan: () => undefined, onBytes: () => undefined, onNote: () => undefined };
  await exportFile(plan, target, { signal: new AbortController().signal, ...told });
}

/** Files of a model that is called complete, before and after they were read, and are not what its record says. */
async function brokenFiles(layout: Layout, model: StoredModel): Promise<string[]> {
  const wrong = await wrongFiles(layout, model);
  // It may have been taken to another revision and back meanwhile.
  const still = wrong.length > 0 ? await wrongFiles(layout, model) : [];
  return wrong.filter((path) => still.includes(path));
}

async function wrongFiles(layout: Layout, model: StoredModel): Promise<string[]> {
  if (!(await isComplete(layout, model))) return [];
  const wrong: string[] = [];
  for (const { path, size, digest } of model.files) {
    const bytes = await readFile(join(model.path, path)).catch(() => null);
    const hex = bytes && startHash(digest.algorithm, size).update(bytes).digest("hex");
    if (hex !== digest.hex) wrong.push(path);
  }
  const after = wrong.length > 0 ? await readManifest(layout, model.key) : null;
  return after?.storedAt === model.storedAt && (await isComplete(layout, after)) ? wrong : [];
}

async function allBroken(layout: Layout): Promise<string[]> {
  return (await Promise.all((await listManifests(layout)).map((model) => brokenFiles(layout, model)))).flat();
}

const order = (): fc.Arbitrary<VolumeOrder> =>
  fc.oneof(
    {
      weight: 3,
      arbitrary: fc.boolean().map((update): VolumeOrder => ({ do: "import", path: join(bundle, "all.tar"), update })),
    },
    { weight: 4, arbitrary: fc.record({ do: fc.constant("sync" as const), spec: fc.constantFrom(...specs) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("hold" as const), spec: fc.constantFrom(...specs) }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant("remove" as const), spec: fc.constantFrom(...specs) }) },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant("prune" as const), maxBytes: fc.integer({ min: 0, max: 1 << 20 }) }),
    },
    { weight: 1, arbitrary: fc.constant<VolumeOrder>({ do: "sweep" }) },
    {
      weight: 4,
      arbitrary: fc
        .record({ spec: fc.constantFrom(...specs.slice(0, 4)), which: fc.nat(1), keep: fc.nat(2) })
        .map(({ spec, which, keep }): VolumeOrder => {
          return { do: "update", spec, to: commits[spec.variant.location]![which]!, keep };
        }),
    },
  );

it("three processes that fetch, update, import, remove, prune and sweep never break a model that a record calls complete", async () => {
  const scripts = fc.array(fc.array(order(), { minLength: 2, maxLength: 6 }), {
    minLength: PROCESSES,
    maxLength: PROCESSES,
  });
  await fc.assert(
    fc.asyncProperty(scripts, async (all) => {
      const over = Promise.withResolvers<void>();
      lastRun = over.promise;
      const volume = mkdtempSync(join(tmpdir(), "muster-property-"));
      const input = { endpoint: hub.url, volume, registries: [registry.url], localDirs: true };
      const layout = createLayout(volume, join(volume, "huggingface/hub"), join(volume, "ollama"));
      try {
        let isOver = false;
        const running = Promise.all(
          all.map(async (script, index) => {
            const problems = [];
            for (const each of script) problems.push(await processes[index]!.ask(each, input));
            return problems;
          }),
        ).finally(() => {
          isOver = true;
        });
        const seen: string[] = [];
        while (!isOver) seen.push(...(await allBroken(layout)));
        expect((await running).flat().filter((problem) => problem !== null)).toEqual([]);
        expect([...seen, ...(await allBroken(layout))]).toEqual([]);
        // Whatever was left, all of it can be had.
        const outcomes = await Promise.all(
          specs.map((spec, index) => (index < PROCESSES ? processes[index]!.ask({ do: "sync", spec }, input) : null)),
        );
        expect(outcomes.filter((problem) => problem !== null)).toEqual([]);
        expect(readdirSync(join(volume, "acme-tiny"))).toContain("model-00003.safetensors");
      } finally {
        rmSync(volume, { recursive: true, force: true });
        over.resolve();
      }
    }),
    { numRuns: 12, interruptAfterTimeLimit: LIMIT_MS, markInterruptAsFailure: false, endOnFailure: true },
  );
});
