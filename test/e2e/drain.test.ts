import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "vitest";
import { type OpenAiEngine, startOpenAiEngine } from "../fakes/openai-engine.ts";
import { until } from "../until.ts";
import { type Env, type Place, place, startMuster } from "./muster.ts";
import { startTestCoordinator, type TestCoordinator } from "./services.ts";

const SLOTS = 8;

/** A chat model in a folder, served by the engine, and a worker type with eight slots for it. */
function chatWorker(engine: OpenAiEngine, coordinator: TestCoordinator, env: Env = {}): Place {
  const here = place({ WORKER_TYPE: "chat", OPENAI_URL: `${engine.url}/v1`, ...coordinator.env, ...env });
  const folder = join(here.folder, "echo");
  mkdirSync(folder);
  writeFileSync(join(folder, "config.json"), "{}");
  writeFileSync(join(folder, "model.safetensors"), "read by no engine here");
  const variant = { source: "path", path: folder, engine: "openai", format: "safetensors" };
  const catalog = join(here.folder, "types.json");
  const workerTypes = { chat: { gpu: "none", models: ["echo"], slots: { chat: SLOTS } } };
  writeFileSync(catalog, JSON.stringify({ models: { echo: { task: "chat", variants: [variant] } }, workerTypes }));
  here.env.WORKER_TYPES_FILE = catalog;
  return here;
}

const isReady = ({ ready, models }: { ready: boolean; models: { state: string }[] }) =>
  ready && models.some(({ state }) => state === "ready");
const chatsAt = (engine: OpenAiEngine) =>
  engine.requests.filter(({ path, body }) => path === "/v1/chat/completions" && body.messages[0].content === "hello");

async function submit(coordinator: TestCoordinator, count: number): Promise<string[]> {
  const input = { messages: [{ role: "user", content: "hello" }] };
  const job = { kind: "chat", model: "echo", input, stream: true } as const;
  const jobs = await Promise.all(Array.from({ length: count }, () => coordinator.jobs.submit(job)));
  return jobs.map(({ id }) => id);
}

test.concurrent("SIGTERM with eight streaming jobs: all are done, then the worker leaves", async ({ expect }) => {
  await using engine = await startOpenAiEngine();
  engine.models = ["echo"];
  await using coordinator = await startTestCoordinator();
  using here = chatWorker(engine, coordinator);
  await using agent = startMuster(["start"], here.env);
  await coordinator.worker("it is ready", isReady);
  const { promise: gate, resolve: open } = Promise.withResolvers<void>();
  engine.script.pieces = [{ text: "hi " }, { text: "there" }];
  engine.script.hold = { piece: 1, until: gate };
  const ids = await submit(coordinator, SLOTS);
  await until("all run", () => chatsAt(engine).length === SLOTS, 45_000);
  agent.kill("SIGTERM");
  await agent.line(/INFO {2}Draining: told to stop/);
  const late = await submit(coordinator, 1);
  open();
  const { code, stderr } = await agent.exited;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  for (const id of ids) {
    expect(await coordinator.jobs.get(id)).toMatchObject({
      state: "done",
      attempt: 1,
      outcome: { output: { choices: [{ message: { content: "hi there" } }] } },
    });
  }
  expect(await coordinator.jobs.get(late[0]!)).toMatchObject({ state: "queued" });
  expect(await coordinator.list()).toEqual([]);
});

test.concurrent("a job that is longer than DRAIN_TIMEOUT is given back, and done elsewhere", async ({ expect }) => {
  await using engine = await startOpenAiEngine();
  await using other = await startOpenAiEngine();
  for (const each of [engine, other]) {
    each.models = ["echo"];
    each.script.pieces = [{ text: "hi " }, { text: "there" }];
  }
  await using coordinator = await startTestCoordinator();
  using first = chatWorker(engine, coordinator, { DRAIN_TIMEOUT: "1s" });
  await using agent = startMuster(["start"], first.env);
  await coordinator.worker("it is ready", isReady);
  engine.script.hold = { piece: 1, until: new Promise(() => undefined) };
  const [id = ""] = await submit(coordinator, 1);
  const running = await until("it runs", () => chatsAt(engine)[0], 45_000);
  using second = chatWorker(other, coordinator);
  await using successor = startMuster(["start"], second.env);
  agent.kill("SIGTERM");
  await running.gone;
  expect((await agent.exited).code).toBe(0);
  await until("another worker has done it", async () => (await coordinator.jobs.get(id))?.state === "done", 45_000);
  expect(await coordinator.jobs.get(id)).toMatchObject({
    outcome: { output: { choices: [{ message: { content: "hi there" } }] } },
  });
  expect(chatsAt(other)).toHaveLength(1);
  successor.kill("SIGTERM");
  expect((await successor.exited).code).toBe(0);
});
