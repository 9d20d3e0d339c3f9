import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type ExpectStatic, test } from "vitest";
import { type Env, place, runMuster, startMuster } from "../e2e/muster.ts";
import { closedPort, startMiniLmHub } from "../e2e/services.ts";
import { startOllamaApi } from "../fakes/ollama-api.ts";
import { startOllamaRegistry } from "../fakes/ollama-registry.ts";
import { seededBytes } from "../fakes/tiny-models.ts";

const MODEL = "nomic-embed-text";

async function json(args: string[], env: Env, expect: ExpectStatic) {
  const { code, stdout, stderr } = await runMuster([...args, "--json"], env);
  expect({ args, code }).toEqual({ args, code: 0 });
  return { ...JSON.parse(stdout), stderr };
}

async function registryWithModel() {
  const registry = await startOllamaRegistry();
  const manifest = registry.addModel(`library/${MODEL}:latest`, {
    layers: { model: seededBytes(2 << 20, 1), license: "MIT" },
  });
  return Object.assign(registry, { manifest });
}

test.concurrent("a model goes from the registry to OLLAMA_MODELS; plan and list say so", async ({ expect }) => {
  await using registry = await registryWithModel();
  using here = place({ OLLAMA_REGISTRY: registry.url });
  const env = { ...here.env, OLLAMA_MODELS: join(here.folder, "elsewhere") };
  const before = await json(["plan", MODEL], env, expect);
  expect(before.models).toMatchObject([{ id: MODEL, state: "missing", bytesPresent: 0 }]);
  expect(registry.bytesServed()).toBeLessThan(200_000);
  const { stdout } = await runMuster(["sync", MODEL], env);
  expect(stdout).toMatch(/ INFO {2}Downloaded nomic-embed-text: 2\.1 MB\n1 of 1 models complete/);
  const path = join(env.OLLAMA_MODELS, "manifests/registry.ollama.ai/library/nomic-embed-text/latest");
  expect(readFileSync(path, "utf8")).toBe(registry.manifest);
  const after = await json(["plan", MODEL], env, expect);
  expect(after.models).toMatchObject([{ state: "stored", bytesMissing: 0 }]);
  const list = await json(["list"], env, expect);
  expect(list.models).toMatchObject([
    { source: "ollama", location: MODEL, complete: true, files: 4, path: env.OLLAMA_MODELS },
  ]);
});

test.concurrent("mirrors are asked in their order", async ({ expect }) => {
  await using registry = await registryWithModel();
  using here = place({ OLLAMA_REGISTRY: `http://127.0.0.1:${await closedPort()}, ${registry.url}/` });
  expect((await runMuster(["sync", MODEL], here.env)).code).toBe(0);
});

test.concurrent("what the registry does not have is told with its own settings", async ({ expect }) => {
  await using registry = await startOllamaRegistry();
  using here = place({ OLLAMA_REGISTRY: registry.url });
  const { code, stderr } = await runMuster(["sync", MODEL], here.env);
  expect(code).toBe(78);
  expect(stderr).toMatch(
    /^error REPO_NOT_FOUND: nomic-embed-text: .+\nhint .+ollama\.com\/library\/nomic-embed-text, .+OLLAMA_REGISTRY/,
  );
  expect(stderr).not.toMatch(/HF_|hub/);
});

test.concurrent("a server that keeps its models itself is told to pull", async ({ expect }) => {
  await using api = await startOllamaApi();
  await using registry = await startOllamaRegistry();
  using here = place({ OLLAMA_STORE: "Server", OLLAMA_URL: api.url, OLLAMA_REGISTRY: registry.url });
  expect((await json(["list"], here.env, expect)).models).toEqual([]);
  const { models } = await json(["sync", MODEL], here.env, expect);
  expect(models).toMatchObject([
    { state: "stored", path: `${MODEL}:latest`, revision: "a".repeat(64), bytesTotal: 1234 },
  ]);
  expect((await json(["plan", MODEL], here.env, expect)).models).toMatchObject([{ state: "stored", bytesMissing: 0 }]);
  expect((await json(["list"], here.env, expect)).models).toMatchObject([
    { location: `${MODEL}:latest`, complete: true, bytes: 1234, files: 0 },
  ]);
  const text = await runMuster(["list"], here.env);
  expect(text.stdout).toMatch(/ollama:nomic-embed-text:latest +a{12} +complete/);
  expect(text.stdout).toContain(`1 models, 1.2 kB in ${here.volume} and at ${api.url}`);
});

test.concurrent("a model that its server keeps is asked for at the registry, and taken on by the server", async ({
  expect,
}) => {
  await using registry = await registryWithModel();
  await using api = await startOllamaApi();
  const latest = createHash("sha256").update(registry.manifest).digest("hex");
  const pulls = ["a".repeat(64), latest];
  api.pull = async ({ store, send }) => {
    api.models.length = 0;
    store({ digest: pulls.shift()! });
    send({ status: "success" });
  };
  using here = place({ OLLAMA_STORE: "server", OLLAMA_URL: api.url, OLLAMA_REGISTRY: registry.url });
  await json(["sync", MODEL], here.env, expect);
  const before = await runMuster(["outdated"], here.env);
  expect(before.code).toBe(1);
  expect(before.stdout).toMatch(
    new RegExp(`ollama:nomic-embed-text +main \\(a{12}\\) +${latest.slice(0, 12)} .+\n1 of 1 models have moved\n$`),
  );
  const refused = await runMuster(["update", MODEL, "--to", "previous"], here.env);
  expect(refused).toMatchObject({ code: 78, stderr: expect.stringContaining("which has of a tag what it is now") });
  const planned = await json(["update", "--dry-run"], here.env, expect);
  expect(planned.models).toMatchObject([{ state: "planned", latestRevision: latest, bytesToFetch: null }]);
  expect((await json(["update", MODEL], here.env, expect)).models).toMatchObject([{ state: "updated" }]);
  expect((await json(["outdated"], here.env, expect)).models).toMatchObject([{ state: "current", revision: latest }]);
  const { entries } = await json(["audit"], here.env, expect);
  expect(entries).toMatchObject([
    { action: "fetched", to: api.url },
    { action: "updated", to: api.url, why: `was at ${"a".repeat(64)}` },
  ]);
  const lock = join(here.folder, "models.lock.json");
  expect((await json(["lock", MODEL, "--file", lock], here.env, expect)).models).toMatchObject([{ to: latest }]);
  await api[Symbol.asyncDispose]();
  expect((await runMuster(["outdated"], here.env)).code).toBe(75);
});

test.concurrent("a server that is away stands in the way of its own models only", async ({ expect }) => {
  await using hub = await startMiniLmHub();
  await using registry = await registryWithModel();
  const url = `http://127.0.0.1:${await closedPort()}`;
  using here = place({ HF_ENDPOINT: hub.url, OLLAMA_REGISTRY: registry.url });
  expect((await runMuster(["sync", "all-minilm-l6-v2"], here.env)).code).toBe(0);
  const env = { ...here.env, OLLAMA_STORE: "server", OLLAMA_URL: url };
  const { models } = await json(["outdated", "sentence-transformers/all-MiniLM-L6-v2"], env, expect);
  expect(models).toMatchObject([{ state: "current" }]);
  expect((await runMuster(["outdated", MODEL], env)).code).toBe(75);
});

test.concurrent("a server that is away: list says so, sync says to try again", async ({ expect }) => {
  const url = `http://127.0.0.1:${await closedPort()}`;
  using here = place({ OLLAMA_STORE: "server", OLLAMA_URL: url });
  const list = await runMuster(["list"], here.env);
  expect(list.code).toBe(0);
  expect(list.stderr).toMatch(/WARN {2}The Ollama server at .+ is not there: .+ECONNREFUSED/);
  await using sync = startMuster(["sync", MODEL], here.env);
  await sync.line(/is not there: .+ Trying again in/);
  sync.kill("SIGTERM");
  expect((await sync.exited).code).toBe(75);
});

test.concurrent("a server that keeps the models has to be named", async ({ expect }) => {
  const { code, stderr } = await runMuster(["list"], { OLLAMA_STORE: "server" });
  expect(code).toBe(78);
  expect(stderr).toContain('OLLAMA_STORE is "server" and OLLAMA_URL is not set');
});

test.concurrent("an engine that keeps the models is started before they are there", async ({ expect }) => {
  await using api = await startOllamaApi();
  api.silent = true;
  using here = place({ WORKER_TYPE: "embedding", OLLAMA_STORE: "server", OLLAMA_URL: api.url, HF_HUB_OFFLINE: "1" });
  await using agent = startMuster(["start", "--", "sh", "-c", "echo the engine runs; sleep 60"], here.env);
  await agent.line(/\[engine\] the engine runs/);
  agent.kill("SIGTERM");
  expect((await agent.exited).code).toBe(0);
});
