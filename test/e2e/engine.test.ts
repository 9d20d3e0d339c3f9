import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "vitest";
import { type Env, place, startMuster } from "./muster.ts";
import { closedPort, startMiniLmHub, startTestCoordinator } from "./services.ts";

const SECRETS: Env = {
  HF_TOKEN: "hf_abcdefghijklmnop",
  HUGGING_FACE_HUB_TOKEN: "hf_abcdefghijklmnop",
  COORDINATOR_TOKEN: "coordinator-secret-0123456789",
  OPENAI_API_KEY: "engine-secret-0123456789",
};

test.concurrent("start -- ENGINE: runs it once the models are there, with its environment, and its models are ready", async ({
  expect,
}) => {
  await using hub = await startMiniLmHub();
  for (const token of Object.values(SECRETS)) hub.tokens[token!] = { name: "somebody" };
  await using coordinator = await startTestCoordinator();
  const port = await closedPort();
  using here = place({
    WORKER_TYPE: "embedding",
    HF_ENDPOINT: hub.url,
    OPENAI_URL: `http://127.0.0.1:${port}/v1`,
    TRANSFORMERS_CACHE: "/elsewhere",
    ENGINE_ARGS: "kept",
    ...coordinator.env,
    ...SECRETS,
  });
  const engine = join(here.folder, "engine.mjs");
  writeFileSync(
    engine,
    `#!/usr/bin/env node
import { createServer } from "node:http";
import { existsSync } from "node:fs";
console.log("environment " + JSON.stringify(process.env));
console.log("snapshots " + existsSync(process.env.HF_HUB_CACHE + "/models--sentence-transformers--all-MiniLM-L6-v2/snapshots"));
createServer((request, response) => {
  const answers = {
    "/v1/models": { object: "list", data: [] },
    "/v1/embeddings": { object: "list", data: [{ object: "embedding", index: 0, embedding: [0.5] }] },
  };
  response.statusCode = request.url in answers ? 200 : 404;
  response.end(JSON.stringify(answers[request.url] ?? {}));
}).listen(${port}, "127.0.0.1", () => console.error("listening with " + process.argv.slice(2)));
process.on("SIGTERM", () => { console.log("engine leaves"); process.exit(0); });
`,
  );
  chmodSync(engine, 0o755);
  await using agent = startMuster(["start", "--", process.execPath, engine, "--flag", "-x"], here.env);
  await agent.line(/INFO {2}\[engine\] listening with --flag,-x/);
  await agent.line(/INFO {2}\[engine\] snapshots true/);
  const line = await agent.line(/\[engine\] environment /);
  const env = JSON.parse(line.slice(line.indexOf("environment ") + "environment ".length));
  expect(env).toMatchObject({
    HF_HOME: join(here.volume, "huggingface"),
    HF_HUB_CACHE: join(here.volume, "huggingface", "hub"),
    HF_HUB_OFFLINE: "1",
    OLLAMA_MODELS: join(here.volume, "ollama"),
    OLLAMA_NOPRUNE: "1",
    OLLAMA_NO_CLOUD: "1",
    VLLM_CACHE_ROOT: join(here.volume, "vllm"),
    ENGINE_ARGS: "kept",
    PATH: process.env.PATH,
  });
  for (const name of [...Object.keys(SECRETS), "TRANSFORMERS_CACHE"]) expect(env).not.toHaveProperty(name);

  const worker = await coordinator.worker("the engine has the model", ({ models }) =>
    models.some(({ model, state }) => model === "all-minilm-l6-v2" && state === "ready"),
  );
  expect(worker.ready).toBe(true);
  agent.kill("SIGTERM");
  const { code, stdout } = await agent.exited;
  expect(code).toBe(0);
  expect(stdout).toContain("[engine] engine leaves");
  for (const token of Object.values(SECRETS)) expect(stdout).not.toContain(token);
});

test.concurrent("an engine that is not there is told of, and the worker lives on", async ({ expect }) => {
  await using hub = await startMiniLmHub();
  using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url });
  await using agent = startMuster(["start", "--", "no-such-engine", "serve"], here.env);
  await agent.line(
    /ERROR The engine no-such-engine ended \(.*ENOENT.*\)\. code=ENGINE_FAILED hint=.+ check the command after/,
  );
  await agent.line(/WARN {2}Starting engine no-such-engine again in \d+\.\d s/);
  agent.kill("SIGTERM");
  expect((await agent.exited).code).toBe(0);
});
