import { chmodSync, chownSync, globSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, expect, test } from "vitest";
import { fakeTools } from "./detect/fake-tools.ts";
import { type Env, LAUNCHER, type Place, place, runMuster, startMuster } from "./e2e/muster.ts";
import { holdWeights, MINILM, startMiniLmHub, WEIGHTS } from "./e2e/services.ts";
import { AS_SOMEBODY, canBeSomebody } from "./e2e/somebody.ts";
import { type Hub, startHub } from "./fakes/hub/hub.ts";
import { startOllamaApi } from "./fakes/ollama-api.ts";
import { causalLmRepo, llamaGguf } from "./fakes/tiny-models.ts";
import { mountTmpfs } from "./store/mount.ts";
import { firstMissing, stepsOf } from "./transcript.ts";

/** Every entry of docs/operations.md, run as it is written: in the trouble that it is about, and printing what it says. */

const text = readFileSync(join(import.meta.dirname, "../docs/operations.md"), "utf8");
const entries = new Map(
  text
    .split(/^## /m)
    .slice(1)
    .map((section) => [section.split("\n", 1)[0]!, section]),
);
const tried = new Set<string>();

/** The commands of an entry, by the shell, in a place whose `docker` and `sudo` lead to the worker of that place. */
async function tryEntry(title: string, here: Place, as: string[] = []) {
  tried.add(title);
  const steps = stepsOf(entries.get(title) ?? "");
  expect(steps.length).toBeGreaterThan(0);
  const bin = fakeHost(here, as);
  for (const step of steps) {
    const command = inPlace(step.command, here);
    const { all } = await execa("sh", ["-c", command], {
      all: true,
      cwd: here.folder,
      reject: false,
      extendEnv: false,
      env: { ...here.env, PATH: `${bin}:${here.env.PATH ?? process.env.PATH}`, HOME: here.folder },
    });
    const output = all.replaceAll(here.volume, "/models").replaceAll(join(here.folder, "usb"), "/mnt/usb");
    const missing = firstMissing(step, output);
    expect(missing === null ? "" : `${step.command}\nprinted no\n${missing}\nbut\n${output}`).toBe("");
  }
}

/** The paths of the document, as they are in the place. */
function inPlace(command: string, { folder, volume, env }: Place): string {
  return command
    .replaceAll("/data/ai-models", volume)
    .replaceAll("/mnt/usb", join(folder, "usb"))
    .replaceAll("/tmp/models", join(folder, "other"))
    .replaceAll("/var/log/model-download.log", env.LOG_FILE ?? "");
}

/** `docker exec [-e NAME=VALUE] worker COMMAND…` and `sudo COMMAND…`; the worker may be another user. */
function fakeHost({ folder }: Place, as: string[]): string {
  const bin = join(folder, "bin");
  mkdirSync(bin, { recursive: true });
  rmSync(join(bin, "muster"), { force: true });
  symlinkSync(LAUNCHER, join(bin, "muster"));
  const script = (name: string, lines: string) => {
    writeFileSync(join(bin, name), `#!/bin/sh\n${lines}\n`);
    chmodSync(join(bin, name), 0o755);
  };
  script(
    "docker",
    `[ "$1" = exec ] && shift || exit 64
while [ "$1" = -e ]; do export "$2"; shift 2; done
[ "$1" = worker ] && shift || exit 64
exec ${as.slice(0, -1).join(" ")} "$@"`,
  );
  script("sudo", 'exec "$@"');
  return bin;
}

function worker(hub: Hub | { url: string }, env: Env = {}): Place {
  const here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url, WORKER_TYPES_FILE: "catalog", ...env });
  // Its one model, and not the optional one that another registry has.
  const file = join(here.folder, "types.json");
  const variants = [{ source: "huggingface", repo: MINILM, engine: "openai" }];
  const models = { "all-minilm-l6-v2": { task: "embedding", license: "apache-2.0", variants } };
  writeFileSync(
    file,
    JSON.stringify({ models, workerTypes: { embedding: { gpu: "none", models: ["all-minilm-l6-v2"] } } }),
  );
  here.env.WORKER_TYPES_FILE = file;
  return here;
}

test("Models are downloaded again at each restart", async ({ task }) => {
  await using hub = await startMiniLmHub();
  using here = worker(hub);
  await runMuster(["sync"], here.env);
  await tryEntry(task.name, here);
});

test("The disk is full", async ({ task, skip }) => {
  const volume = mountTmpfs(12 << 20, skip);
  await using hub = await startMiniLmHub(16 << 20);
  using here = worker(hub, { MODEL_CACHE_DIR: volume });
  await tryEntry(task.name, { ...here, volume });
});

test("The GPU is out of memory", async ({ task }) => {
  await using tools = await fakeTools();
  await tools.printing("nvidia-smi", { "'-q -x'": "nvidia-smi/rtx-3080-v12.xml" });
  const PATH = `${tools.path}:${process.env.PATH}`;
  using here = place({ WORKER_TYPE: "gpu-worker", ENABLE_GPU: "auto", HF_HUB_OFFLINE: "1", PATH });
  await tryEntry(task.name, here);
});

test("A download hangs", async ({ task }) => {
  await using hub = await startMiniLmHub(4 << 20);
  hub.faults.stallBody = { path: WEIGHTS, afterBytes: 0 };
  using here = worker(hub, { STALL_TIMEOUT: "1s" });
  here.env.LOG_FILE = join(here.folder, "log");
  await using agent = startMuster(["start"], here.env);
  await agent.line(/WARN .*STALL_TIMEOUT/);
  await tryEntry(task.name, here);
});

test.skipIf(!canBeSomebody)("Permission denied", async ({ task }) => {
  await using hub = await startMiniLmHub();
  using here = worker(hub);
  chmodSync(here.folder, 0o755);
  mkdirSync(here.env.STATE_DIR!);
  chownSync(here.env.STATE_DIR!, 1000, 1000);
  await tryEntry(task.name, here, AS_SOMEBODY);
});

test("Several hosts share the models", async ({ task }) => {
  await using hub = await startMiniLmHub();
  using here = worker(hub);
  await runMuster(["sync"], { ...here.env, STATE_DIR: join(here.folder, "first-host") });
  mkdirSync(join(here.folder, "usb"));
  await tryEntry(task.name, here);
});

test("Workers have no network", async ({ task }) => {
  await using hub = await startMiniLmHub();
  using here = worker(hub);
  await runMuster(["sync"], here.env);
  mkdirSync(join(here.folder, "usb"));
  await tryEntry(task.name, here);
});

test("A model is not found", async ({ task }) => {
  await using hub = await startHub();
  using here = worker(hub);
  await tryEntry(task.name, here);
});

/** A worker type `chat` with one model, which has pickles, of a hub that has two. */
async function researcher(title: string, env: Env = {}) {
  const { "README.md": _, ...files } = causalLmRepo("acme/research");
  await using hub = await startHub({
    repos: [
      { id: "acme/Tiny-Chat", files: causalLmRepo("acme/Tiny-Chat"), license: "apache-2.0" },
      { id: "acme/research", files: { ...files, "pytorch_model.bin": "x" }, license: "cc-by-nc-4.0" },
    ],
  });
  using here = worker(hub, { WORKER_TYPE: "chat", ...env });
  const file = here.env.WORKER_TYPES_FILE!;
  const include = title === "Pickles are found" ? ["*.json", "*.bin"] : [];
  const variants = [{ source: "huggingface", repo: "acme/research", engine: "openai", include }];
  const models = { research: { task: "chat", variants } };
  writeFileSync(file, JSON.stringify({ models, workerTypes: { chat: { gpu: "none", models: ["research"] } } }));
  if (include.length > 0) await runMuster(["sync"], here.env);
  await tryEntry(title, here);
}

test("A model is to be served that the catalog does not have", ({ task }) => researcher(task.name));
test("A licence is not allowed", ({ task }) => researcher(task.name));
test("Pickles are found", ({ task }) => researcher(task.name));

test("Ollama is to have a model of one's own", async ({ task }) => {
  await using api = await startOllamaApi();
  using here = worker({ url: "http://127.0.0.1:9" }, { OLLAMA_URL: api.url });
  writeFileSync(join(here.folder, "tiny.f16.gguf"), llamaGguf({ type: "F16", sizeBytes: 65536, seed: 1 }));
  await tryEntry(task.name, here);
});

test("Files are missing", async ({ task }) => {
  await using hub = await startMiniLmHub();
  using here = worker(hub);
  await runMuster(["sync"], here.env);
  const [weights] = globSync(`huggingface/hub/**/snapshots/*/${WEIGHTS}`, { cwd: here.volume });
  rmSync(join(here.volume, weights!));
  for (const blob of globSync("huggingface/hub/**/blobs/*", { cwd: here.volume })) rmSync(join(here.volume, blob));
  await tryEntry(task.name, here);
});

test("Downloads are slow", async ({ task }) => {
  await using hub = await startMiniLmHub(8 << 20);
  const gate = holdWeights(hub);
  hub.faults.slow = { path: WEIGHTS, bytesPerSecond: 200_000 };
  using here = worker(hub, { MAX_CONNECTIONS: "2" });
  await using agent = startMuster(["start"], here.env);
  await agent.line(/Downloading .*\/s/);
  await tryEntry(task.name, here);
  gate.open();
});

test("A model loads slowly", async ({ task }) => {
  await using hub = await startMiniLmHub();
  using here = worker(hub);
  await runMuster(["sync"], here.env);
  await tryEntry(task.name, here);
});

test("A model is gone", async ({ task }) => {
  await using hub = await startMiniLmHub();
  using here = worker(hub);
  await runMuster(["sync"], here.env);
  expect(await runMuster(["remove", MINILM, "--yes"], here.env)).toMatchObject({ code: 0 });
  await tryEntry(task.name, here);
});

test("A new revision of a model is worse", async ({ task }) => {
  await using hub = await startMiniLmHub();
  using here = worker(hub);
  await runMuster(["sync"], here.env);
  hub.updateRepo(MINILM, { "modules.json": '[{"idx":0,"name":"0"}]' });
  await tryEntry(task.name, here);
});

afterAll(() => {
  if (canBeSomebody) expect([...tried].toSorted()).toEqual([...entries.keys()].toSorted());
});
