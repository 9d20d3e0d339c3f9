import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { askLatest } from "../../src/fetch/ask-latest.ts";
import { recordSource } from "../../src/fetch/record-source.ts";
import { trimRevisions, updateModel } from "../../src/fetch/update-model.ts";
import type { StoredModel, Variant } from "../../src/model.ts";
import { createLayout } from "../../src/store/layout.ts";
import { type FileSource, type Hub, startHub } from "../fakes/hub/hub.ts";
import { causalLmRepo, seededBytes, sentenceTransformerRepo } from "../fakes/tiny-models.ts";
import { FLOCK_MISSING } from "../store/flock.ts";
import { temporaryFolder } from "../store/temporary-folder.ts";
import { until } from "../until.ts";
import { modelSpec, openTransfer, syncContext } from "./sync-context.ts";
import { bytesOf, differences, outcomeOf, startSync, sync, wrongBlobs } from "./volume.ts";

/** The cache as Python's huggingface_hub sees it; vLLM and transformers read it through that. */

const run = promisify(execFile);
const VERSIONS = [
  { version: "1.33.0", variable: "MUSTER_PYTHON_133" },
  { version: "2.0.0", variable: "MUSTER_PYTHON_200" },
];
const MIB = 1 << 20;

const files: Record<string, FileSource> = {
  ...causalLmRepo("acme/tiny"),
  "sub folder/ü#1.json": "{}",
  "empty.txt": "",
};
const big = { "config.json": "{}", "model.safetensors": seededBytes(20 * MIB, 1) };

let hub: Hub;
let commit: string;
let volume: string;
let cache: string;
beforeAll(async () => {
  hub = await startHub({
    tokens: { hf_interopinterop: { name: "bob", gatedAccess: ["acme/gated"] } },
    repos: [
      { id: "acme/big", files: big },
      { id: "acme/minilm", files: sentenceTransformerRepo("acme/minilm") },
      { id: "acme/gated", files: big, gated: "auto" },
    ],
  });
  commit = hub.addRepo({ id: "acme/tiny", files }).commit;
});
beforeEach(() => {
  hub.reset();
  volume = temporaryFolder();
  cache = join(volume, "huggingface", "hub");
});
afterAll(() => hub.close());

const input = () => ({ endpoint: hub.url, volume });
const needed = Object.fromEntries(Object.entries(files).filter(([path]) => path !== ".gitattributes"));

async function fetched(id: string) {
  const { outcome } = await sync(input(), [modelSpec(id)]);
  expect(outcome.error).toBeNull();
  return outcome;
}

for (const { version, variable } of VERSIONS) {
  const given = process.env[variable];
  const python = given || resolve(import.meta.dirname, "../../.interop", `hub-${version}`, "bin", "python");
  const missing = !existsSync(python);
  if (missing) {
    process.stderr.write(
      `SKIPPED: huggingface_hub ${version} is not at ${python} (scripts/interop-setup installs it)\n`,
    );
  }

  /** Runs Python against the cache and gives what `result` was. */
  async function ask(program: string, environment: Record<string, string> = {}): Promise<unknown> {
    const code = `import json, warnings\nfrom huggingface_hub import snapshot_download, scan_cache_dir, hf_hub_download\n${program}\nprint(json.dumps(result))`;
    const { stdout } = await run(python, ["-W", "error::UserWarning", "-c", code], {
      env: {
        PATH: process.env.PATH,
        HOME: volume,
        HF_HUB_CACHE: cache,
        HF_ENDPOINT: hub.url,
        HF_HUB_DISABLE_TELEMETRY: "1",
        HF_HUB_DISABLE_PROGRESS_BARS: "1",
        NO_PROXY: "127.0.0.1,localhost",
        ...environment,
      },
    });
    return JSON.parse(stdout.trimEnd().split("\n").at(-1)!);
  }
  const download = (id: string, options = "") =>
    ask(`result = snapshot_download("${id}"${options})`) as Promise<string>;
  const offline = (id: string) => download(id, ", local_files_only=True");
  const scan = () =>
    ask(`
cache = scan_cache_dir()
result = {
    "warnings": [str(warning) for warning in cache.warnings],
    "repos": {
        repo.repo_id: {
            "refs": {ref: revision.commit_hash for ref, revision in repo.refs.items()},
            "files": sorted(str(file.file_path) for revision in repo.revisions for file in revision.files),
            "size": repo.size_on_disk,
        }
        for repo in cache.repos
    },
}`);

  describe.skipIf(missing)(`huggingface_hub ${version}`, () => {
    it("is the version it should be", async () => {
      expect(await ask("import huggingface_hub\nresult = huggingface_hub.__version__")).toBe(version);
    });

    it("finds offline what was fetched here, asks nobody, and has nothing to complain of", async () => {
      const { stored } = await fetched("acme/tiny");
      await fetched("acme/minilm");
      hub.reset();
      expect(await offline("acme/tiny")).toBe(stored!.path);
      expect(await ask(`result = hf_hub_download("acme/tiny", "config.json", local_files_only=True)`)).toBe(
        join(stored!.path, "config.json"),
      );
      const scanned = await scan();
      expect(scanned).toMatchObject({
        warnings: [],
        repos: {
          "acme/tiny": {
            refs: { main: commit },
            files: Object.keys(needed)
              .map((path) => join(stored!.path, path))
              .sort(byCodePoint),
          },
          "acme/minilm": {},
        },
      });
      expect(hub.requests).toEqual([]);
    });

    it("finds it also by its commit, and by a tag", async () => {
      hub.setRevision("acme/tiny", "v1.0", commit, "tag");
      hub.setRevision("acme/tiny", "refs/pr/1", commit);
      const specs = ["v1.0", "refs/pr/1", commit].map((revision) => modelSpec("acme/tiny", { revision }));
      for (const { error } of (await sync(input(), specs)).outcomes) expect(error).toBeNull();
      hub.reset();
      for (const revision of ["v1.0", "refs/pr/1", commit]) {
        expect(await download("acme/tiny", `, revision="${revision}", local_files_only=True`)).toContain(commit);
      }
      expect(await scan()).toMatchObject({
        warnings: [],
        repos: { "acme/tiny": { refs: { "refs/pr/1": commit, "v1.0": commit } } },
      });
      expect(hub.requests).toEqual([]);
    });

    it("online fetches only what was left out here", async () => {
      await fetched("acme/tiny");
      hub.reset();
      const path = await download("acme/tiny");
      expect(differences(path, files)).toEqual([]);
      expect(hub.bytesServed()).toBe(bytesOf(files[".gitattributes"]!).length);
      expect(await scan()).toMatchObject({ warnings: [] });
    });

    it("has filled a cache that is complete here without a byte, record and all", async () => {
      const path = await download("acme/tiny");
      hub.reset();
      const outcome = await fetched("acme/tiny");
      expect([outcome.fetchedBytes, outcome.stored!.path]).toEqual([0, path]);
      // config.json is read for the plan.
      expect(hub.requests.filter(({ file }) => file && file !== "config.json")).toEqual([]);
      hub.reset();
      await fetched("acme/tiny");
      expect(hub.requests).toEqual([]);
      expect(await offline("acme/tiny")).toBe(path);
      expect(await scan()).toMatchObject({ warnings: [], repos: { "acme/tiny": { refs: { main: commit } } } });
    });

    it("has fetched a part, and the rest is fetched here", async () => {
      await download("acme/tiny", `, allow_patterns=["*.json"]`);
      hub.reset();
      const outcome = await fetched("acme/tiny");
      const rest = Object.entries(needed).filter(([path]) => !path.endsWith(".json"));
      expect(outcome.fetchedBytes).toBe(rest.reduce((sum, [, source]) => sum + bytesOf(source).length, 0));
      // Python itself noted that the repository has more files than anybody asked for.
      const path = await download("acme/tiny", `, ignore_patterns=[".gitattributes"], local_files_only=True`);
      expect(differences(path, needed)).toEqual([]);
      expect(await scan()).toMatchObject({ warnings: [] });
    });

    it("finds nothing at all while a fetch is unfinished, and all of it after a kill and a resume", async () => {
      Object.assign(hub.faults, { slow: { bytesPerSecond: 20 * MIB } });
      const child = startSync({ ...input(), connections: 2 }, [modelSpec("acme/big")]);
      await until("a part was sent", () => hub.bytesServed() > 8 * MIB);
      child.kill("SIGKILL");
      await child.exited;
      await expect(offline("acme/big")).rejects.toThrow("LocalEntryNotFoundError");
      expect(await scan()).toMatchObject({ warnings: [] });

      const { error, fetchedBytes } = await outcomeOf(startSync(input(), [modelSpec("acme/big")]));
      expect(error).toBeNull();
      expect(fetchedBytes).toBeLessThan(20 * MIB);
      hub.reset();
      expect(differences(await offline("acme/big"), big)).toEqual([]);
      expect(await scan()).toMatchObject({ warnings: [] });
      expect(hub.requests).toEqual([]);
    });

    it("is not disturbed when both fetch the same at once", async () => {
      Object.assign(hub.faults, { slow: { bytesPerSecond: 30 * MIB } });
      const [path, outcome] = await Promise.all([download("acme/big"), fetched("acme/big")]);
      expect(outcome.stored!.path).toBe(path);
      expect(differences(path, big)).toEqual([]);
      expect(wrongBlobs(join(cache, "models--acme--big"))).toEqual([]);
      expect(await scan()).toMatchObject({ warnings: [] });
    });

    it.skipIf(FLOCK_MISSING)("and this one fetch each byte once: who begins later waits for the other", async () => {
      for (const first of ["python", "muster"]) {
        hub.reset();
        rmSync(volume, { recursive: true, force: true });
        const gate = Promise.withResolvers<void>();
        hub.onRequest = ({ host, path }) =>
          host === "cdn" && path.endsWith(".safetensors") ? gate.promise : undefined;
        const asked = () => hub.requests.some(({ host, method }) => host === "cdn" && method === "GET");
        const lock = () => readdirSync(join(cache, ".locks", "models--acme--big"), { recursive: true });
        const python = () => download("acme/big");
        if (first === "python") {
          const path = python();
          await until("Python asks for the weights", asked);
          const child = startSync(input(), [modelSpec("acme/big")]);
          await until("it waits for Python", () =>
            child.lines.some(({ note }) => note === "Waiting for another tool, which is fetching model.safetensors"),
          );
          gate.resolve();
          expect((await outcomeOf(child)).stored!.path).toBe(await path);
        } else {
          const child = startSync(input(), [modelSpec("acme/big")]);
          await until("the weights are asked for here", asked);
          expect(lock()).toHaveLength(1);
          const path = python();
          const files = () =>
            hub.requests.filter(({ method, path: asked }) => method === "HEAD" && asked.endsWith(".safetensors"));
          await until("Python has seen what the weights are", () => files().length > 0);
          gate.resolve();
          expect((await outcomeOf(child)).stored!.path).toBe(await path);
        }
        expect(hub.bytesServed({ file: "model.safetensors" })).toBe(bytesOf(big["model.safetensors"]).length);
        expect(differences(await offline("acme/big"), big)).toEqual([]);
        expect(await scan()).toMatchObject({ warnings: [] });
      }
    });

    it.skipIf(FLOCK_MISSING)("does not keep this one from it when it hangs with its lock", async () => {
      const gate = Promise.withResolvers<void>();
      let first = true;
      hub.onRequest = ({ host }) => {
        if (host !== "cdn" || !first) return;
        first = false;
        return gate.promise;
      };
      const path = download("acme/big");
      await until("Python asks for the weights", () => !first);
      const { outcome, notes } = await sync({ ...input(), toolWaitMs: 50 }, [modelSpec("acme/big")]);
      expect(outcome.error).toBeNull();
      expect(notes.join("\n")).toContain("Waited long enough for the other tool");
      expect(differences(outcome.stored!.path, big)).toEqual([]);
      gate.resolve();
      expect(differences(await path, big)).toEqual([]);
    });

    it("sees the revision that an update took the model to, and the one before after going back", async () => {
      const first = hub.addRepo({ id: "acme/moving", files }).commit;
      const { stored } = await fetched("acme/moving");
      const second = hub.updateRepo("acme/moving", { "config.json": '{"model_type":"llama","moved":true}' }).commit;
      const spec = modelSpec("acme/moving");
      await updateIn(volume, stored!, { ...spec.variant });
      hub.reset();
      const seen = async () => readFileSync(join(await offline("acme/moving"), "config.json"), "utf8");
      expect(await offline("acme/moving")).toBe(join(cache, "models--acme--moving/snapshots", second));
      expect(await seen()).toContain("moved");
      expect(await scan()).toMatchObject({ warnings: [], repos: { "acme/moving": { refs: { main: second } } } });
      await updateIn(volume, stored!, { ...spec.variant, revision: first });
      expect(await offline("acme/moving")).toBe(stored!.path);
      expect(await seen()).toBe(files["config.json"]);
      expect(await scan()).toMatchObject({ warnings: [], repos: { "acme/moving": { refs: { main: first } } } });
      // Without the one that is kept nothing of it is left that it could complain of.
      await removeKept(volume, stored!.key);
      expect(existsSync(join(cache, "models--acme--moving/snapshots", second))).toBe(false);
      expect(await scan()).toMatchObject({ warnings: [], repos: { "acme/moving": { refs: { main: first } } } });
    });

    it("repairs nothing here and breaks nothing there when a file is gone", async () => {
      const { stored } = await fetched("acme/tiny");
      rmSync(join(stored!.path, "config.json"));
      hub.reset();
      await fetched("acme/tiny");
      expect(hub.requests).toEqual([]);
      expect(readFileSync(join(await offline("acme/tiny"), "config.json"), "utf8")).toBe(files["config.json"]);
      expect(await scan()).toMatchObject({ warnings: [] });
    });
  });
}

/** What `muster update` does. */
async function updateIn(folder: string, record: StoredModel, variant: Variant): Promise<void> {
  await using transfer = openTransfer({ ...input(), volume: folder });
  const context = syncContext({ ...input(), volume: folder }, transfer);
  const { plan } = await askLatest(record, variant, context);
  const ignore = () => undefined;
  const progress = { onPlan: ignore, onBytes: ignore, onShared: ignore, onNote: ignore };
  await updateModel(record, { spec: recordSource(record, null), plan }, context, progress);
}

async function removeKept(folder: string, key: string): Promise<void> {
  const layout = createLayout(folder, join(folder, "huggingface/hub"), join(folder, "ollama"));
  const trimmed = await trimRevisions(layout, { key, keep: 0 }, new AbortController().signal);
  expect(trimmed.map(({ outcome }) => outcome)).toEqual(["removed"]);
}

/** As Python sorts. */
function byCodePoint(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
