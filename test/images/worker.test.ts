import { chownSync, openSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { beforeAll, describe, expect, test } from "vitest";
import manifest from "../../package.json" with { type: "json" };
import type { WorkerView } from "../../src/coordinator/coordinator.ts";
import type { Env, Place } from "../e2e/muster.ts";
import { closedPort, holdWeights, MINILM, startMiniLmHub, startTestCoordinator, WEIGHTS } from "../e2e/services.ts";
import { type Hub, startHub } from "../fakes/hub/hub.ts";
import { startOllamaRegistry } from "../fakes/ollama-registry.ts";
import { llamaGguf, sentenceTransformerRepo } from "../fakes/tiny-models.ts";
import { until } from "../until.ts";
import { agentLayerBytes, BASES, buildEngines, buildImage, whyNoImages } from "./build.ts";
import { SHARED_NETWORK, stack, whyNoCompose } from "./compose.ts";
import { containerPlace, runContainer, startContainer } from "./container.ts";

const why = whyNoImages();
const BUILD_MS = 400_000;
/** Much is written, and many containers start. */
const LONG_MS = 240_000;

/** Two models, one for the image's own engine, and one that nobody here serves. */
const CATALOG = {
  models: {
    minilm: { task: "embedding", variants: [{ source: "huggingface", repo: MINILM, engine: "openai" }] },
    tiny: { task: "chat", contextLength: 2048, variants: [{ source: "ollama", name: "tiny", engine: "ollama" }] },
  },
  workerTypes: {
    "cpu-worker": { gpu: "none", models: ["tiny", "minilm"], slots: { chat: 1 } },
    embedding: { gpu: "none", models: ["minilm"] },
  },
};

/** Mounts a catalog where a container finds it. */
function withCatalog(here: Place, catalog: object = CATALOG): { env: Env; flags: string[] } {
  const file = join(here.folder, "worker-types.json");
  writeFileSync(file, JSON.stringify(catalog));
  return {
    env: { WORKER_TYPES_FILE: "/etc/worker-types.json" },
    flags: ["--volume", `${file}:/etc/worker-types.json:ro`],
  };
}

async function startSources(weightsBytes?: number) {
  const hub = await startMiniLmHub(weightsBytes);
  const registry = await startOllamaRegistry();
  registry.addModel("library/tiny:latest", {
    layers: { model: llamaGguf({ type: "F16", sizeBytes: 1 << 18, seed: 1 }) },
  });
  return {
    hub,
    registry,
    env: { HF_ENDPOINT: hub.url, OLLAMA_REGISTRY: registry.url },
    async [Symbol.asyncDispose]() {
      await hub[Symbol.asyncDispose]();
      await registry[Symbol.asyncDispose]();
    },
  };
}

const skippedFor = (reason: string | null) => (reason ? ` (skipped: ${reason})` : "");
const embedding = (hub: Hub) => ({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url });

describe.skipIf(why)(`the images${skippedFor(why)}`, () => {
  let cpu = "";
  let gpu = "";
  beforeAll(async () => {
    await buildEngines();
    cpu = await buildImage("cpu", "worker");
    gpu = await buildImage("gpu", "worker");
  }, BUILD_MS);

  test("cold start, exec, SIGTERM, and a warm start that asks nobody", async () => {
    await using sources = await startSources();
    await using coordinator = await startTestCoordinator();
    using here = containerPlace();
    const { env, flags } = withCatalog(here);
    const token = join(here.folder, "token");
    writeFileSync(token, coordinator.env.COORDINATOR_TOKEN);
    const options = {
      image: cpu,
      volume: here.volume,
      env: {
        ...env,
        ...sources.env,
        COORDINATOR_URL: coordinator.env.COORDINATOR_URL,
        COORDINATOR_TOKEN_FILE: "/run/secrets/token",
      },
      flags: [...flags, "--volume", `${token}:/run/secrets/token:ro`],
    };
    const states = ({ models }: WorkerView) => Object.fromEntries(models.map(({ model, state }) => [model, state]));
    {
      await using worker = await startContainer(options);
      await worker.line(/INFO {2}\[engine\] Listening on .*, models in \/models\/ollama/);
      const ready = await coordinator.worker("it is ready", (each) => each.ready && states(each).tiny === "ready");
      expect(ready).toMatchObject({ workerType: "cpu-worker", connected: true });
      expect(states(ready)).toEqual({ tiny: "ready", minilm: "stored" });
      // The file that the issue's `tail -f` follows.
      const log = await worker.exec("tail", "-n", "100", "/var/log/model-download.log");
      expect(log.stdout).toMatch(/INFO {2}Ready: every required model is on the volume/);
      const again = await worker.exec("muster", "sync");
      expect(again).toMatchObject({ code: 0, stderr: "" });
      expect(again.stdout).toMatch(/2 of 2 models complete \(.+\), 0 B fetched now/);
      expect((await worker.exec("muster", "health")).code).toBe(0);
      expect(await worker.exec("muster", "run", "chat", "--model", "tiny", "Good morning")).toMatchObject({
        code: 0,
        stderr: "",
      });
      await worker.stop(30);
      const { code, stdout } = await worker.exited;
      expect(code).toBe(0);
      expect(stdout).toMatch(/Draining: told to stop\n.*Stopped\n$/);
      expect(await coordinator.list()).toEqual([]);
    }
    sources.hub.reset();
    sources.registry.reset();
    await using worker = await startContainer(options);
    await coordinator.worker("it is ready again", (each) => each.ready && states(each).tiny === "ready");
    expect([sources.hub.requests, sources.registry.requests]).toEqual([[], []]);
    worker.kill("SIGTERM");
    expect((await worker.exited).code).toBe(0);
  });

  test("HEALTHCHECK: healthy in the middle of a download, unhealthy with a main loop that hangs", async () => {
    await using hub = await startMiniLmHub(4 << 20);
    holdWeights(hub, { all: true });
    using here = containerPlace();
    await using worker = await startContainer({
      image: cpu,
      volume: here.volume,
      env: embedding(hub),
      flags: ["--health-retries=1"],
    });
    await worker.line(/Downloading/);
    const check = () => execa("podman", ["healthcheck", "run", worker.name], { reject: false });
    expect(await check()).toMatchObject({ exitCode: 0 });
    expect((await worker.exec("muster", "health", "--ready")).code).toBe(1);
    const { stdout: pids } = await execa("podman", ["top", worker.name, "hpid", "args"]);
    const agent = Number(/^(\d+)\s+\/opt\/muster\/bin\/node/m.exec(pids)?.[1]);
    process.kill(agent, "SIGSTOP");
    expect((await check()).exitCode).not.toBe(0);
    process.kill(agent, "SIGCONT");
    expect(await check()).toMatchObject({ exitCode: 0 });
  });

  test("the coordinator of the compose files: its token in a file, its database on a volume, its health", async () => {
    using here = containerPlace();
    const token = join(here.folder, "token");
    writeFileSync(token, "coordinator-secret-0123456789\n");
    const port = String(await closedPort());
    await using coordinator = await startContainer({
      image: cpu,
      volume: null,
      env: { HTTP_PORT: port, COORDINATOR_TOKEN_FILE: "/run/secrets/coordinator-token" },
      flags: ["--read-only", "--cap-drop=ALL", "--volume", `${token}:/run/secrets/coordinator-token:ro`],
      command: ["muster", "coordinator", "--listen", `0.0.0.0:${port}`, "--store", "/var/lib/muster/jobs.db"],
    });
    await coordinator.line(/The coordinator listens on/);
    expect((await coordinator.exec("muster", "health")).code).toBe(0);
    expect((await fetch(`http://127.0.0.1:${port}/v1/workers`)).status).toBe(401);
    coordinator.kill("SIGTERM");
    expect((await coordinator.exited).code).toBe(0);
  });

  test("two containers on one volume fetch each byte once", async () => {
    await using hub = await startMiniLmHub(16 << 20);
    using here = containerPlace();
    const options = { image: cpu, volume: here.volume, env: embedding(hub), command: ["muster", "sync", "--json"] };
    const ended = await Promise.all([runContainer(options), runContainer(options)]);
    expect(ended.map(({ code }) => code)).toEqual([0, 0]);
    const { bytesTotal } = (JSON.parse(ended[0].stdout) as { models: { bytesTotal: number }[] }).models[0]!;
    expect(hub.bytesServed()).toBeLessThan(bytesTotal * 1.2);
  });

  test("a read-only root, no capabilities, and a user that no image knows", async () => {
    await using hub = await startMiniLmHub();
    await using coordinator = await startTestCoordinator();
    using here = containerPlace();
    chownSync(here.volume, 4711, 4711);
    await using worker = await startContainer({
      image: cpu,
      volume: here.volume,
      env: { ...embedding(hub), ...coordinator.env },
      flags: [
        "--read-only",
        "--read-only-tmpfs=false",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--user=4711:4711",
      ],
    });
    await coordinator.worker("it is ready", ({ ready }) => ready);
    expect((await worker.exec("muster", "status")).code).toBe(0);
    expect((await worker.exec("touch", "/opt/muster/x")).stderr).toContain("Read-only file system");
    const written = await worker.exec(
      "find",
      "/",
      "-xdev",
      "-newer",
      "/proc/1/cmdline",
      "-type",
      "f",
      "-not",
      "-path",
      "/proc/*",
    );
    expect(written.stdout.trim()).toBe("");
    expect((await worker.exec("tail", "/var/log/model-download.log")).stdout).toContain("Ready");
    expect(statSync(join(here.volume, "huggingface")).uid).toBe(4711);
    worker.kill("SIGTERM");
    expect((await worker.exited).code).toBe(0);
  });

  test("a folder of another user is told with the line that helps", async () => {
    await using hub = await startMiniLmHub();
    using here = containerPlace();
    chownSync(here.volume, 0, 0);
    const options = { image: cpu, volume: here.volume, env: embedding(hub) };
    const { code, stderr } = await runContainer({ ...options, command: ["muster", "sync"] });
    expect(code).toBe(78);
    expect(stderr).toContain("VOLUME_NOT_WRITABLE: all-minilm-l6-v2: No permission to write /models as 1000:1000.");
    expect(stderr).toContain("chown -R 1000:1000");
    await using worker = await startContainer(options);
    expect(await worker.line(/No permission to write \/models as 1000:1000/)).toContain("chown -R 1000:1000");
    // It waits for somebody to do that, and then it goes on.
    expect((await worker.exec("muster", "health")).code).toBe(0);
    chownSync(here.volume, 1000, 1000);
    expect((await worker.exec("muster", "sync")).code).toBe(0);
  });

  test("512 MiB of memory are enough to fetch 2 GiB", { timeout: LONG_MS }, async () => {
    using here = containerPlace();
    const weights = join(here.folder, "weights");
    openSync(weights, "w");
    truncateSync(weights, 2 ** 31);
    await using hub = await startHub();
    hub.addRepo({ id: MINILM, files: { ...sentenceTransformerRepo(MINILM), [WEIGHTS]: { path: weights } } });
    const { code, stdout } = await runContainer({
      image: cpu,
      volume: here.volume,
      env: { ...embedding(hub), HF_ENDPOINT: hub.url },
      flags: ["--memory=512m", "--memory-swap=512m"],
      command: ["/usr/local/bin/download-models.sh", "all-minilm-l6-v2"],
    });
    expect({ code, end: stdout.split("\n").at(-2) }).toEqual({
      code: 0,
      end: expect.stringMatching(/^1 of 1 models complete \(2\.1 GB\)/),
    });
  });

  test("download-models.sh fills a volume without coordinator and engine, and says when it could not", {
    timeout: LONG_MS,
  }, async () => {
    await using sources = await startSources();
    using here = containerPlace();
    const { env, flags } = withCatalog(here);
    const fill = (type: string, more: Env = {}) =>
      runContainer({
        image: gpu,
        volume: here.volume,
        env: { ...env, ...sources.env, ...more },
        flags,
        command: ["/usr/local/bin/download-models.sh", ...(type ? [type] : [])],
      });
    const all = await fill("all");
    expect(all).toMatchObject({ code: 0, stderr: "" });
    expect(all.stdout).toMatch(/2 of 2 models complete/);
    expect((await fill("cpu-worker", { HF_HUB_OFFLINE: "1" })).code).toBe(0);
    expect(await fill("llama")).toMatchObject({ code: 64, stderr: expect.stringContaining("MODEL_UNKNOWN") });
    expect((await fill("--help")).stdout).toContain("gpu-worker | ocr | embedding | vllm | cpu-worker | all");
    using empty = containerPlace();
    const refused = { image: gpu, volume: empty.volume, env: { ...env, ...sources.env, HF_HUB_OFFLINE: "1" }, flags };
    expect((await runContainer({ ...refused, command: ["download-models.sh", "all"] })).code).not.toBe(0);
  });

  test("the agent's layer: at most 130 MB, no packages, no npm, and no shell for the agent", async () => {
    expect(await agentLayerBytes(cpu)).toBeLessThanOrEqual(130e6);
    const found = await runContainer({
      image: cpu,
      volume: null,
      command: ["find", "/", "-xdev", "(", "-name", "node_modules", "-o", "-name", "npm", "-o", "-name", "yarn*", ")"],
    });
    expect(found.stdout).toBe("");
    const shells = ["/usr/bin/dash", "/usr/bin/bash", "/usr/bin/env"].flatMap((shell) => [
      "--volume",
      `/dev/null:${shell}:ro`,
    ]);
    const version = await runContainer({ image: cpu, volume: null, flags: shells, command: ["muster", "--version"] });
    expect(version).toMatchObject({ code: 0, stdout: "0.1.0\n" });
    const bill = await runContainer({ image: cpu, volume: null, command: ["cat", "/opt/muster/sbom.cdx.json"] });
    const names = (JSON.parse(bill.stdout) as { components: { name: string }[] }).components.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining([...Object.keys(manifest.dependencies), "nodejs", "tini"]));
    for (const tool of Object.keys(manifest.devDependencies)) expect(names).not.toContain(tool);
  });

  test("of the GPU: worker, ocr, embedding and vllm", { timeout: LONG_MS }, async () => {
    const inspect = async (image: string) => {
      const { stdout } = await execa("podman", ["image", "inspect", image]);
      const [{ Config }] = JSON.parse(stdout) as [{ Config: Record<string, unknown> & { Env: string[] } }];
      return { ...Config, WORKER_TYPE: Config.Env.find((each) => each.startsWith("WORKER_TYPE="))?.slice(12) };
    };
    const common = { User: "1000:1000", StopSignal: "SIGTERM", Entrypoint: ["/usr/bin/tini", "--"] };
    const ollama = { ...common, Cmd: ["muster", "start", "--", "ollama", "serve"] };
    expect(await inspect(gpu)).toMatchObject({ ...ollama, WORKER_TYPE: "gpu-worker" });
    expect(await inspect(await buildImage("gpu", "ocr"))).toMatchObject({ ...ollama, WORKER_TYPE: "ocr" });
    expect(await inspect(await buildImage("gpu", "embedding"))).toMatchObject({ ...ollama, WORKER_TYPE: "embedding" });
    const vllm = await buildImage("gpu", "vllm");
    expect(await inspect(vllm)).toMatchObject({
      ...common,
      WORKER_TYPE: "vllm",
      Cmd: ["muster", "start", "--", "vllm", "serve", "--host", "127.0.0.1", "--port", "8000"],
    });

    const port = await closedPort();
    await using hub = await startMiniLmHub();
    await using coordinator = await startTestCoordinator();
    using here = containerPlace();
    const catalog = {
      models: { minilm: { task: "embedding", variants: [{ source: "huggingface", repo: MINILM, engine: "vllm" }] } },
      workerTypes: { vllm: { gpu: "none", models: ["minilm"] } },
    };
    const { env, flags } = withCatalog(here, catalog);
    await using worker = await startContainer({
      image: vllm,
      volume: here.volume,
      env: { ...env, ...coordinator.env, HF_ENDPOINT: hub.url, VLLM_URL: `http://127.0.0.1:${port}` },
      flags,
      command: ["muster", "start", "--", "vllm", "serve", "--host", "127.0.0.1", "--port", String(port)],
    });
    const isReady = ({ models }: WorkerView) => models.some(({ state }) => state === "ready");
    expect((await coordinator.worker("vLLM has the model", isReady)).workerType).toBe("vllm");
    worker.kill("SIGTERM");
    expect((await worker.exited).code).toBe(0);
  });

  /** One after the other: they have the ports that the files say. */
  describe.skipIf(whyNoCompose())(`compose files brought up${skippedFor(whyNoCompose())}`, () => {
    /** What the built-in worker type of CPUs takes. */
    async function startBuiltIn() {
      const registry = await startOllamaRegistry();
      for (const name of ["llama3.2", "nomic-embed-text"])
        registry.addModel(`library/${name}:latest`, {
          layers: { model: llamaGguf({ type: "F16", sizeBytes: 1 << 18, seed: name }) },
        });
      return registry;
    }
    const ask = async (token: string) => {
      const answer = await fetch("http://127.0.0.1:8400/v1/chat/completions", {
        method: "POST",
        headers: { authorization: `Bearer ${token.trim()}`, "content-type": "application/json" },
        body: JSON.stringify({ model: "llama3.2", messages: [{ role: "user", content: "Good morning" }] }),
      }).catch(() => null);
      return answer?.ok ? ((await answer.json()) as { choices: { message: { content: string } }[] }) : null;
    };

    test("compose.yml: one command, and the coordinator answers; again, and nothing is fetched", {
      timeout: LONG_MS,
    }, async () => {
      await using registry = await startBuiltIn();
      using here = containerPlace();
      const service = `image: localhost/muster-test-compose, ${SHARED_NETWORK}, build: { args: ${JSON.stringify(BASES)} }`;
      await using laptop = stack({
        file: "compose.yml",
        here,
        env: { OLLAMA_REGISTRY: registry.url },
        override: `services:\n  coordinator: { ${service} }\n  worker: { ${service} }\n`,
      });
      const token = readFileSync(join(import.meta.dirname, "../../docker/development-token"), "utf8");
      await laptop.up("--build");
      await until("the coordinator has a chat answered", () => ask(token), 60_000);
      expect(await laptop.exec("worker", "muster", "run", "chat", "Why is the sky blue?")).toMatchObject({ code: 0 });
      expect((await laptop.exec("worker", "muster", "sync")).stdout).toMatch(
        /2 of 2 models complete .+, 0 B fetched now/,
      );
      await laptop.down();
      registry.reset();
      await laptop.up();
      await until("the coordinator has a chat answered again", () => ask(token), 60_000);
      expect(registry.requests).toEqual([]);
    });

    test("compose.production.yml: hardened, the volume a folder of the host, the token in a file", {
      timeout: LONG_MS,
    }, async () => {
      await using registry = await startBuiltIn();
      using here = containerPlace();
      const secret = join(here.folder, "coordinator-token");
      writeFileSync(secret, "coordinator-secret-0123456789", { mode: 0o400 });
      chownSync(secret, 1000, 1000);
      await using production = stack({
        file: "docker/compose.production.yml",
        here,
        env: { OLLAMA_REGISTRY: registry.url, MODELS_DIR: here.volume, MUSTER_CPU_IMAGE: cpu, MUSTER_GPU_IMAGE: gpu },
        // No GPU is handed through here.
        override: `
services:
  coordinator: { ${SHARED_NETWORK} }
  gpu-worker:
    ${SHARED_NETWORK.replace(", ", "\n    ")}
    environment: { WORKER_TYPE: cpu-worker }
    deploy: { resources: { reservations: !reset null } }
secrets:
  coordinator-token: { file: ${secret} }
`,
      });
      await production.up();
      await until("the coordinator has a chat answered", () => ask("coordinator-secret-0123456789"), 60_000);
      expect((await production.exec("gpu-worker", "touch", "/etc/x")).stderr).toContain("Read-only file system");
      expect((await production.exec("gpu-worker", "muster", "health", "--ready")).code).toBe(0);
      expect(statSync(join(here.volume, "ollama")).uid).toBe(1000);
      expect(await production.logs("gpu-worker")).not.toMatch(/ (WARN|ERROR) /);
    });
  });
});
