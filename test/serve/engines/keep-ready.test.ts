import { onTestFinished, test } from "vitest";
import type { ModelSpec } from "../../../src/model.ts";
import { keepReady } from "../../../src/serve/engines/keep-ready.ts";
import { type OpenEnginesOptions, openEngines } from "../../../src/serve/engines/open-engines.ts";
import { createStatusBoard } from "../../../src/status.ts";
import { closedPort } from "../../e2e/services.ts";
import { startOllamaEngine } from "../../fakes/ollama-engine.ts";
import { startOpenAiEngine } from "../../fakes/openai-engine.ts";
import { keptLog } from "../../register/worker.ts";
import { until } from "../../until.ts";
import { spec } from "./spec.ts";

type Urls = Partial<OpenEnginesOptions["config"]["engineUrls"]>;

/** A worker whose models are stored, kept ready on these engines until the test ends. */
function keep(urls: Urls, specs: ModelSpec[], again = { minMs: 1, maxMs: 10 }, everyMs = 10, startsEngine = false) {
  const board = createStatusBoard({ version: "1", workerId: "w", bootId: "b", workerType: "t" });
  const config = {
    engineUrls: { ollama: null, vllm: null, openai: null, ...urls },
    engineKeys: { vllm: null, openai: null },
  };
  const engines = openEngines({ config, storedOf: async () => null });
  engines.serve(specs);
  const states: string[] = [];
  board.onChange((event) => {
    if (event.kind === "model") states.push(`${event.model.id} ${event.model.state}`);
  });
  for (const { id, variant } of specs) board.setModel(id, { engine: variant.engine, state: "stored" });
  const stop = new AbortController();
  const { log, lines } = keptLog();
  const ended = keepReady({ engines, board, log, signal: stop.signal, everyMs, again, startsEngine });
  const leave = () => {
    stop.abort();
    return ended;
  };
  onTestFinished(leave);
  const model = (id: string) => board.current.models.find((each) => each.id === id)!;
  return {
    board,
    engines,
    leave,
    lines,
    model,
    states,
    becomes: (id: string, state: string) => until(`${id} is ${state}`, () => model(id).state === state),
    fails: (id: string, code: string) => until(`${id} has ${code}`, () => model(id).error?.code === code && model(id)),
  };
}

test("an engine comes and goes, and its models with it", async ({ expect }) => {
  const port = await closedPort();
  const url = `http://127.0.0.1:${port}`;
  const worker = keep({ vllm: url }, [spec("served"), spec("others", { engine: "ollama" })]);
  worker.board.setModel("coming", { engine: "vllm", state: "fetching" });
  await until("the engine is known to be away", () => worker.board.current.engines.length > 0);
  expect(worker.board.current.engines).toEqual([{ kind: "vllm", url, reachable: false, version: null }]);
  for (let time = 0; time < 2; time += 1) {
    await using engine = await startOpenAiEngine(port);
    engine.models = ["org/served"];
    await worker.becomes("served", "ready");
    expect(worker.board.current.engines).toEqual([{ kind: "vllm", url, reachable: true, version: "0.11.0" }]);
    await engine[Symbol.asyncDispose]();
    await worker.becomes("served", "stored");
    await until("it is told", () => worker.board.current.engines[0]?.reachable === false);
  }
  expect([worker.model("others").state, worker.model("coming").state]).toEqual(["stored", "fetching"]);
  await worker.leave();
  expect(worker.lines.map(({ msg }) => msg)).toEqual([
    `vLLM at ${url} is not there`,
    ...[1, 2].flatMap(() => [
      `vLLM at ${url} is there`,
      `served is ready on vLLM at ${url}`,
      `vLLM at ${url} is not there`,
    ]),
  ]);
});

test("an engine that a job has found gone is not waited for", async ({ expect }) => {
  await using engine = await startOpenAiEngine();
  engine.models = ["org/served"];
  const { board, becomes } = keep({ vllm: engine.url }, [spec("served")], undefined, 60_000);
  await becomes("served", "ready");
  const job = { jobId: "j", attempt: 1, kind: "chat" as const, model: "served", startedAt: "", chunks: 0 };
  const end = { status: "failed" as const, error: { code: "ENGINE_DOWN" as const, message: "gone", retryable: true } };
  board.startJob(job);
  await engine[Symbol.asyncDispose]();
  board.endJob(job, end);
  await becomes("served", "stored");
  expect(board.current.engines[0]?.reachable).toBe(false);
});

test("an engine that this worker will start is not missed before", async ({ expect }) => {
  const port = await closedPort();
  const worker = keep({ vllm: `http://127.0.0.1:${port}` }, [spec("served")], undefined, 10, true);
  await until("it was looked for", () => worker.lines.length > 0);
  {
    await using _engine = await startOpenAiEngine(port);
    await worker.becomes("served", "ready");
  }
  await until("it is gone", () => worker.board.current.engines[0]?.reachable === false);
  const said = worker.lines.filter(({ msg }) => msg.includes("is not there"));
  expect(said.map(({ level, msg }) => [level, msg.slice(msg.indexOf(" is "))])).toEqual([
    [30, " is not there yet"],
    [40, " is not there"],
  ]);
});

test("models are loaded one after the other, and are loading meanwhile", async ({ expect }) => {
  await using engine = await startOllamaEngine();
  const gate = Promise.withResolvers<void>();
  engine.script.headers = gate.promise;
  const specs = ["first", "second"].map((id) => spec(id, { engine: "ollama", location: `${id}:1b` }));
  const worker = keep({ ollama: engine.url }, specs);
  await engine.asked("/api/chat");
  expect([worker.model("first").state, worker.model("second").state]).toEqual(["loading", "stored"]);
  gate.resolve();
  await worker.becomes("second", "ready");
  expect(worker.states).toEqual([
    "first stored",
    "second stored",
    "first loading",
    "first ready",
    "second loading",
    "second ready",
  ]);
  const loads = engine.requests.filter(({ path }) => path === "/api/chat").map(({ body }) => body.model);
  expect(loads).toEqual(["first:1b", "second:1b"]);
});

test("what is stored later is loaded then", async ({ expect }) => {
  await using engine = await startOllamaEngine();
  const worker = keep({ ollama: engine.url }, [spec("late", { engine: "ollama" })]);
  worker.board.setModel("late", { state: "fetching" });
  await until("the engine is there", () => worker.board.current.engines[0]?.reachable);
  expect(engine.requests.every(({ path }) => path === "/api/version")).toBe(true);
  worker.board.setModel("late", { state: "stored" });
  await worker.becomes("late", "ready");
});

test("a load that fails is told, with its reason, and tried again; the others are loaded", async ({ expect }) => {
  await using engine = await startOllamaEngine();
  engine.script.refuse = { status: 500, message: "model requires more system memory (5.6 GiB) than is available" };
  const worker = keep({ ollama: engine.url }, [spec("large", { engine: "ollama" })]);
  expect(await worker.fails("large", "OUT_OF_MEMORY")).toMatchObject({ state: "stored" });
  await engine.asked("/api/chat", 2);
  engine.script.refuse = { status: 404, message: "model 'org/large' not found" };
  await worker.fails("large", "MODEL_NOT_READY");
  engine.script.refuse = null;
  await worker.becomes("large", "ready");
  expect(worker.model("large").error).toBeNull();
  // What repeats is said once.
  expect(worker.lines.filter(({ code }) => code === "OUT_OF_MEMORY")).toHaveLength(1);
});

test("an engine that goes while it loads is loaded on again when it is back", async ({ expect }) => {
  const port = await closedPort();
  const worker = keep({ ollama: `http://127.0.0.1:${port}` }, [spec("model", { engine: "ollama" })]);
  {
    await using engine = await startOllamaEngine(port);
    engine.script.headers = new Promise(() => undefined);
    await worker.becomes("model", "loading");
    await engine.asked("/api/chat");
  }
  await until("it is known to be away", () => worker.board.current.engines[0]?.reachable === false);
  expect(worker.model("model").state).toBe("stored");
  await using _engine = await startOllamaEngine(port);
  await worker.becomes("model", "ready");
});

test("a model that the engine does not serve says so, until it does", async ({ expect }) => {
  await using engine = await startOpenAiEngine();
  engine.models = ["org/a", "org/b"];
  const worker = keep({ vllm: engine.url }, [spec("wanted")]);
  const { error, state } = await worker.fails("wanted", "MODEL_NOT_READY");
  expect(state).toBe("stored");
  expect(error?.message).toBe(`vLLM at ${engine.url} does not serve wanted; it serves org/a, org/b.`);
  expect(error?.hint).toContain("--served-model-name wanted");
  expect(worker.engines.find("wanted")).toBeNull();
  engine.models = ["wanted"];
  await worker.becomes("wanted", "ready");
  expect(worker.engines.find("wanted")?.model.name).toBe("wanted");
  engine.models = ["org/a", "org/b"];
  await worker.becomes("wanted", "stored");
});

test("files that go while they are loaded do not make a ready model", async ({ expect }) => {
  await using engine = await startOllamaEngine();
  const gate = Promise.withResolvers<void>();
  engine.script.headers = gate.promise;
  const worker = keep({ ollama: engine.url }, [
    spec("first", { engine: "ollama" }),
    spec("next", { engine: "ollama" }),
  ]);
  await engine.asked("/api/chat");
  worker.board.setModel("first", { state: "fetching" });
  gate.resolve();
  await worker.becomes("next", "ready");
  expect(worker.model("first").state).toBe("fetching");
});

test("nobody waits for a silent engine, or for a load, when the agent leaves", async ({ expect }) => {
  await using silent = await startOpenAiEngine();
  silent.silent = true;
  await using loading = await startOllamaEngine();
  loading.script.headers = new Promise(() => undefined);
  const worker = keep({ vllm: silent.url, ollama: loading.url }, [spec("a"), spec("b", { engine: "ollama" })]);
  await silent.asked("/v1/models");
  const { gone } = await loading.asked("/api/chat");
  await worker.leave();
  await gone;
  // It was not found out whether it is there.
  expect(worker.board.current.engines.map(({ kind }) => kind)).toEqual(["ollama"]);
});

test("without engines there is nothing to do", async () => {
  await keep({}, [spec("model")]).leave();
});

test("what was asked for at run time fails when it cannot be loaded, or is not served", async ({ expect }) => {
  await using engine = await startOllamaEngine();
  engine.script.refuse = { status: 500, message: "model requires more system memory (5.6 GiB) than is available" };
  await using other = await startOpenAiEngine();
  other.models = ["org/a", "org/b"];
  const large = spec("large", { engine: "ollama" }, { runTime: true });
  const worker = keep({ ollama: engine.url, vllm: other.url }, [large, spec("unserved", {}, { runTime: true })]);
  await worker.becomes("large", "failed");
  expect(worker.model("large").error).toMatchObject({ code: "OUT_OF_MEMORY" });
  expect(engine.requests.filter(({ path }) => path === "/api/chat")).toHaveLength(3);
  await worker.becomes("unserved", "failed");
  expect(worker.model("unserved").error).toMatchObject({ code: "MODEL_NOT_READY" });
  // Its files are looked at again: the answer is given anew.
  worker.board.setModel("unserved", { state: "stored", error: null });
  await worker.becomes("unserved", "failed");
  other.models = ["org/a", "unserved"];
  await worker.becomes("unserved", "ready");
  engine.script.refuse = null;
  worker.board.setModel("large", { state: "stored", error: null });
  await worker.becomes("large", "ready");
});

test("an engine that goes while it loads is no failure of what was asked for at run time", async ({ expect }) => {
  await using engine = await startOllamaEngine();
  engine.script.refuse = { status: 503, message: "the runner has crashed" };
  const worker = keep({ ollama: engine.url }, [spec("model", { engine: "ollama" }, { runTime: true })]);
  await engine.asked("/api/chat", 1);
  expect(worker.states).not.toContain("model failed");
});

test("a load that nobody wants any more is broken off", async ({ expect }) => {
  await using engine = await startOllamaEngine();
  engine.script.headers = new Promise(() => undefined);
  const specs = [spec("unwanted", { engine: "ollama" }), spec("next", { engine: "ollama" })];
  const worker = keep({ ollama: engine.url }, specs);
  const { gone } = await engine.asked("/api/chat");
  engine.script.headers = Promise.resolve();
  worker.engines.serve(specs.slice(1));
  worker.board.removeModel("unwanted");
  await gone;
  await worker.becomes("next", "ready");
  expect(worker.board.current.models.map(({ id }) => id)).toEqual(["next"]);
});

test("what comes later is asked about at once of an engine that lists what it serves", async ({ expect }) => {
  await using engine = await startOpenAiEngine();
  engine.models = ["org/first", "org/late"];
  const first = spec("first");
  const worker = keep({ vllm: engine.url }, [first], { minMs: 1, maxMs: 10 }, 600_000);
  await worker.becomes("first", "ready");
  worker.engines.serve([first, spec("late")]);
  worker.board.setModel("late", { engine: "vllm", state: "stored" });
  await worker.becomes("late", "ready");
  expect(worker.engines.find("late")?.model.name).toBe("org/late");
});
