import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { ModelView } from "../../src/coordinator/models/model-view.ts";
import { type Hub, startHub } from "../fakes/hub/hub.ts";
import { type OpenAiEngine, startOpenAiEngine } from "../fakes/openai-engine.ts";
import { causalLmRepo } from "../fakes/tiny-models.ts";
import { until } from "../until.ts";
import { type Env, type Place, place, startMuster } from "./muster.ts";
import { holdWeights, startTestCoordinator, type TestCoordinator } from "./services.ts";

const REPO = "acme/tiny-chat";
const MODEL = `hf:${REPO}`;
const CHAT = { kind: "chat", input: { messages: [{ role: "user", content: "hello" }] } } as const;

/** A chat worker that requires one model, `echo`, knows one too large for any machine, and may be asked for those of acme. */
function chatWorker({ hub, engine, coordinator }: Services, env: Env = {}): Place {
  const here = place({
    ...{ WORKER_TYPE: "chat", HF_ENDPOINT: hub.url, OPENAI_URL: `${engine.url}/v1`, MAX_CONNECTIONS: "1" },
    ...{ MODEL_POLICY: "patterns", MODEL_POLICY_PATTERNS: "hf:acme/*", ...coordinator.env, ...env },
  });
  const folder = join(here.folder, "echo");
  mkdirSync(folder);
  writeFileSync(join(folder, "config.json"), "{}");
  writeFileSync(join(folder, "model.safetensors"), "read by no engine here");
  const echo = { source: "path", path: folder, engine: "openai", format: "safetensors" };
  const giant = { source: "huggingface", repo: "acme/giant", engine: "openai", sizeBytes: 1e15 };
  const models = { echo: { task: "chat", variants: [echo] }, giant: { task: "chat", variants: [giant] } };
  const workerTypes = { chat: { gpu: "none", models: ["echo"], slots: { chat: 2 } } };
  here.env.WORKER_TYPES_FILE = join(here.folder, "types.json");
  writeFileSync(here.env.WORKER_TYPES_FILE, JSON.stringify({ models, workerTypes }));
  return here;
}

interface Services extends AsyncDisposable {
  hub: Hub;
  engine: OpenAiEngine;
  coordinator: TestCoordinator;
  call(method: string, path: string, body?: object): Promise<{ status: number; body: ModelView }>;
  /** Waits until the model is shown so. */
  shows(what: string, path: string, condition: (model: ModelView) => boolean): Promise<ModelView>;
}

async function startServices(): Promise<Services> {
  const hub = await startHub({ repos: [{ id: REPO, files: causalLmRepo(REPO, { shards: 1, sizeBytes: 12 << 20 }) }] });
  const engine = await startOpenAiEngine();
  engine.models = ["echo", REPO];
  const coordinator = await startTestCoordinator();
  const headers = { authorization: `Bearer ${coordinator.env.COORDINATOR_TOKEN}` };
  const call: Services["call"] = async (method, path, body) => {
    const response = await fetch(`${coordinator.url}${path}`, { method, headers, body: body && JSON.stringify(body) });
    return { status: response.status, body: (await response.json()) as ModelView };
  };
  return {
    ...{ hub, engine, coordinator, call },
    shows: (what, path, condition) =>
      until(
        what,
        async () => {
          const { status, body } = await call("GET", path);
          return status === 200 && condition(body) && body;
        },
        45_000,
      ),
    async [Symbol.asyncDispose]() {
      await Promise.all([hub, engine, coordinator].map((each) => each[Symbol.asyncDispose]()));
    },
  };
}

test("a model is asked for, fetched, loaded, does a job, and is removed", async () => {
  await using services = await startServices();
  const { hub, engine, coordinator, call, shows } = services;
  using here = chatWorker(services);
  await using agent = startMuster(["start"], here.env);
  await coordinator.worker(
    "it is ready",
    ({ ready, models }) => ready && models.some(({ state }) => state === "ready"),
  );
  const early = await coordinator.jobs.submit({ ...CHAT, model: MODEL });

  const gate = holdWeights(hub);
  const asked = await call("POST", "/v1/models", { model: MODEL });
  expect(asked).toMatchObject({
    status: 202,
    body: { id: MODEL, object: "model.request", state: "requested", error: null, workers: [{ state: "requested" }] },
  });
  const half = await shows(
    "half of it is there",
    "/v1/models/acme/tiny-chat",
    ({ workers }) => workers[0]!.bytesDone >= 8 << 20,
  );
  expect(half).toMatchObject({ id: MODEL, state: "fetching", workers: [{ connected: true, state: "fetching" }] });
  expect(half.workers[0]!.bytesDone).toBeLessThan(half.workers[0]!.bytesTotal);
  expect((await coordinator.list())[0]).toMatchObject({ ready: true, state: "ready" });
  gate.open();
  for (const path of ["hf:acme/tiny-chat", "hf%3Aacme%2Ftiny-chat", "hf:acme-tiny-chat", "acme-tiny-chat"]) {
    const ready = await shows("it is ready", `/v1/models/${path}`, ({ state }) => state === "succeeded");
    expect(ready).toMatchObject({ id: MODEL, workers: [{ state: "ready", error: null }] });
  }

  await until("the job is done", async () => (await coordinator.jobs.get(early.id))?.state === "done");
  const bySource = await coordinator.jobs.submit({ ...CHAT, model: REPO });
  await until("the job is done", async () => (await coordinator.jobs.get(bySource.id))?.state === "done");
  const chats = engine.requests.filter(({ path }) => path === "/v1/chat/completions");
  expect(chats.at(-1)?.body.model).toBe(REPO);

  // A job that runs ends first.
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  engine.script.hold = { piece: 1, until: held };
  const last = await coordinator.jobs.submit({ ...CHAT, model: MODEL });
  await until(
    "it runs",
    () => engine.requests.filter(({ path }) => path === "/v1/chat/completions").length > chats.length,
  );
  expect(await call("DELETE", `/v1/models/${MODEL}`)).toEqual({
    status: 202,
    body: { object: "model.removal", id: MODEL, workers: [{ id: expect.any(String), told: true }] },
  });
  await coordinator.worker("it takes no more jobs", ({ models }) =>
    models.some(({ model, state }) => model === MODEL && state === "stored"),
  );
  const late = await coordinator.jobs.submit({ ...CHAT, model: MODEL });
  expect((await coordinator.jobs.get(last.id))?.state).toBe("assigned");
  release();
  await coordinator.worker("it is gone", ({ models }) => models.every(({ model }) => model !== MODEL));
  await until("the job that ran is done", async () => (await coordinator.jobs.get(last.id))?.state === "done");
  expect((await coordinator.jobs.get(late.id))?.state).toBe("queued");
  expect((await call("GET", `/v1/models/${MODEL}`)).status).toBe(404);
  expect(JSON.parse(readFileSync(join(here.folder, "state/run-time-models.json"), "utf8"))).toEqual({
    ...{ formatVersion: 1, asked: [], removed: [] },
  });

  // What stands on the volume stays: this time nothing is fetched.
  const before = hub.requests.length;
  await call("POST", "/v1/models", { model: "acme/tiny-chat", source: "huggingface" });
  await shows("it is ready again", `/v1/models/${MODEL}`, ({ state }) => state === "succeeded");
  await until("the job that waited is done", async () => (await coordinator.jobs.get(late.id))?.state === "done");
  expect(hub.requests.slice(before)).toEqual([]);
  agent.kill("SIGTERM");
  expect((await agent.exited).code).toBe(0);
});

test("kill -9 in the middle of fetching: the agent that starts next goes on and gets ready", async () => {
  await using services = await startServices();
  const { hub, coordinator, call, shows } = services;
  using here = chatWorker(services);
  const gate = holdWeights(hub);
  {
    await using agent = startMuster(["start"], here.env);
    await coordinator.worker("it is ready", ({ ready }) => ready);
    await call("POST", "/v1/models", { model: MODEL });
    await shows("half of it is there", `/v1/models/${MODEL}`, ({ workers }) => workers[0]!.bytesDone >= 8 << 20);
    agent.kill("SIGKILL");
    await agent.exited;
  }
  gate.open();
  hub.onRequest = undefined;
  const ranges = hub.requests.length;
  await using _agent = startMuster(["start"], here.env);
  await shows("it is ready", `/v1/models/${MODEL}`, ({ state }) => state === "succeeded");
  const weights = hub.requests
    .slice(ranges)
    .filter(({ host, path }) => host === "cdn" && path.endsWith("/model.safetensors"));
  expect(weights.length).toBeGreaterThan(0);
  expect(weights.filter(({ range }) => !range || range.startsWith("bytes=0-"))).toEqual([]);
});

test("what may not be had, does not fit, is unknown or required is told with the reason", async () => {
  await using services = await startServices();
  const { hub, coordinator, call, shows } = services;
  using here = chatWorker(services);
  await using _agent = startMuster(["start"], here.env);
  await coordinator.worker("it is ready", ({ ready }) => ready);
  const before = hub.requests.length;
  const fails = async (model: string) => {
    expect((await call("POST", "/v1/models", { model })).status).toBe(202);
    const failed = await shows(
      "it has failed",
      `/v1/models/${encodeURIComponent(model)}`,
      ({ state }) => state === "failed",
    );
    expect(failed.workers).toMatchObject([{ state: "failed", error: failed.error }]);
    return failed.error;
  };
  for (const model of ["hf:other/tiny-chat", "hf:acme/tiny-chat@refs/pr/1", "ollama:tiny", "/etc", "file:///etc"]) {
    expect(await fails(model)).toMatchObject({ code: "MODEL_NOT_ALLOWED", message: expect.stringContaining(model) });
  }
  expect(hub.requests.slice(before)).toEqual([]);
  expect(await fails("no-such-model")).toMatchObject({ code: "MODEL_UNKNOWN" });
  expect(await fails("hf:acme/nowhere")).toMatchObject({ code: "REPO_NOT_FOUND" });
  for (let time = 0; time < 2; time += 1) {
    expect(await fails("giant")).toEqual({
      code: "NOTHING_FITS",
      message: expect.stringMatching(
        /^giant does not fit this worker beside echo: needs 9\d+\.\d GiB, main memory has \d/,
      ),
    });
  }
  expect((await call("DELETE", "/v1/models/echo")).status).toBe(202);
  const kept = await shows("it stays", "/v1/models/echo", ({ workers }) => workers[0]!.error !== null);
  expect(kept).toMatchObject({ object: "model", state: "succeeded", workers: [{ error: { code: "MODEL_REQUIRED" } }] });
  expect((await call("DELETE", "/v1/models/giant")).status).toBe(202);
  await coordinator.worker("the refusal is gone", ({ models }) => models.every(({ model }) => model !== "giant"));
});

test("an engine that does not serve the model: stored, and failed with what the engine serves", async () => {
  await using services = await startServices();
  const { engine, coordinator, call, shows } = services;
  engine.models = ["echo"];
  using here = chatWorker(services);
  await using _agent = startMuster(["start"], here.env);
  await coordinator.worker("it is ready", ({ ready }) => ready);
  await call("POST", "/v1/models", { model: MODEL });
  const failed = await shows("it has failed", `/v1/models/${MODEL}`, ({ state }) => state === "failed");
  expect(failed).toMatchObject({
    error: { code: "MODEL_NOT_READY", message: expect.stringContaining(`does not serve ${MODEL}; it serves echo.`) },
    workers: [{ bytesDone: failed.workers[0]!.bytesTotal }],
  });
  engine.models = ["echo", REPO];
  await shows("it is ready once it is served", `/v1/models/${MODEL}`, ({ state }) => state === "succeeded");
});

test("removed while it is fetched: nothing of it runs on, and it can be asked for again", async () => {
  await using services = await startServices();
  const { hub, coordinator, call, shows } = services;
  using here = chatWorker(services);
  await using _agent = startMuster(["start"], here.env);
  await coordinator.worker("it is ready", ({ ready }) => ready);
  const gate = holdWeights(hub);
  await call("POST", "/v1/models", { model: MODEL });
  await shows("half of it is there", `/v1/models/${MODEL}`, ({ workers }) => workers[0]!.bytesDone >= 8 << 20);
  await call("DELETE", `/v1/models/${MODEL}`);
  await coordinator.worker("it is gone", ({ models }) => models.every(({ model }) => model !== MODEL));
  expect(gate.waiting).toBeGreaterThan(0);
  await call("POST", "/v1/models", { model: MODEL });
  gate.open();
  await shows("it is ready", `/v1/models/${MODEL}`, ({ state }) => state === "succeeded");
});
