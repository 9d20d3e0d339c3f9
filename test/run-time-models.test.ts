import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { createAgentView } from "../src/agent-view.ts";
import { allowedModel } from "../src/allowed-model.ts";
import { MusterError } from "../src/errors.ts";
import { keepModels } from "../src/fetch/keep-models.ts";
import type { ModelSpec } from "../src/model.ts";
import { openRememberedModels } from "../src/remembered-models.ts";
import { RunTimeModels, type RunTimeModelsOptions } from "../src/run-time-models.ts";
import { selectBeside } from "../src/select/select-beside.ts";
import type { Catalog } from "../src/select/worker-types.ts";
import { keepReady } from "../src/serve/engines/keep-ready.ts";
import { openEngines } from "../src/serve/engines/open-engines.ts";
import { createJobServer } from "../src/serve/job-server.ts";
import { createStatusBoard } from "../src/status.ts";
import { type OllamaEngine, startOllamaEngine } from "./fakes/ollama-engine.ts";
import { openTransfer, syncContext } from "./fetch/sync-context.ts";
import { keptLog } from "./register/worker.ts";
import { machine, model, variant, wants, workerType } from "./select/machine.ts";
import { chatJob } from "./serve/serving.ts";
import { temporaryFolder } from "./store/temporary-folder.ts";
import { until } from "./until.ts";

interface Given {
  /** Models of the worker type, by id; those whose names begin with "may" are optional. */
  first?: string[];
  state?: string;
  select?: RunTimeModelsOptions["select"];
}

/** A worker on Ollama whose catalog has small models in folders, and one that is too large. */
async function worker(engine: OllamaEngine, { first = [], state = temporaryFolder(), select }: Given = {}) {
  const folder = temporaryFolder();
  const inFolder = (id: string, sizeGib = 1) => {
    const path = join(folder, id);
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, "config.json"), "{}");
    writeFileSync(join(path, "model.safetensors"), `weights of ${id}`);
    return model(id, [variant("only", sizeGib, { source: "path", location: path, engine: "ollama" })]);
  };
  const known = ["must", "may", "a", "b", "c"].map((id) => inFolder(id));
  const all = [...known, inFolder("large", 1000), model("for-vllm", [variant("fp16", 1)])];
  const catalog: Catalog = { models: new Map(all.map((each) => [each.id, each])), workerTypes: new Map() };
  const references = first.map((id) => wants(catalog.models.get(id)!, { optional: id.startsWith("may") }));
  const type = workerType(references, { gpu: "none", slots: { chat: 2 } });
  const input = { catalog, workerType: type, hardware: machine([], 16) };
  const rest = { enableGpu: "auto", minGpuMemoryGb: null, factsOf: () => null } as const;
  const config = {
    engineUrls: { ollama: engine.url, vllm: null, openai: null },
    engineKeys: { vllm: null, openai: null },
    modelPolicy: { mode: "catalog" as const, patterns: [] },
  };

  const { log, lines } = keptLog();
  const board = createStatusBoard({ version: "1", workerId: "w", bootId: "b", workerType: type.id });
  const transfer = openTransfer({ endpoint: "http://127.0.0.1:1", volume: folder });
  const context = syncContext({ endpoint: "http://127.0.0.1:1", volume: folder }, transfer);
  const view = createAgentView({ board, log, catalog, layout: context.layout });
  const engines = openEngines({ config, storedOf: async () => null });
  const engineOf = (id: string) => engines.find(id);
  const jobs = createJobServer({ board, log, slots: type.slots, engineOf, logPayloads: false });
  const remembered = await openRememberedModels(state, log);
  const [stop, over] = [new AbortController(), new AbortController()];
  const models: ModelSpec[] = [];
  for (const { model: each, optional } of references) {
    if (optional && remembered.removed.includes(each.id)) continue;
    const { runTime: _, ...spec } = selectBeside({ ...input, ...rest }, models, { model: each, context: null });
    models.push({ ...spec, required: !optional });
  }
  view.selected({ workerType: type, models, refused: [], notices: [] });
  const own = new RunTimeModels({
    ...{ workerType: type, models, catalog, engines, jobs, remembered, board, view, log },
    keeper: keepModels(models, { ...context, signal: stop.signal }, view.observer),
    modelOf: (asked) => allowedModel(asked, { ...config, catalog, workerType: type }),
    select: select ?? (async (reference) => (placed) => selectBeside({ ...input, ...rest }, placed.models, reference)),
    ...{ signal: stop.signal, over: over.signal, again: { minMs: 1, maxMs: 2 } },
  });
  const ready = keepReady({ engines, board, log, signal: over.signal, everyMs: 10, again: { minMs: 1, maxMs: 2 } });
  const leave = async () => {
    stop.abort();
    over.abort();
    await Promise.all([own.ended(), ready]);
    jobs.close();
    await transfer[Symbol.asyncDispose]();
  };
  onTestFinished(leave);
  const shown = (id: string) => board.current.models.find((each) => each.id === id);
  return {
    ...{ board, engines, jobs, lines, remembered, shown, state, stop },
    ensure: (...references: string[]) => own.ensure(references.map((reference) => ({ reference, options: {} }))),
    remove: (...names: string[]) => own.remove(names),
    ids: () => board.current.models.map(({ id }) => id),
    becomes: (id: string, what: string) => until(`${id} is ${what}`, () => shown(id)?.state === what),
    fails: async (id: string) => {
      await until(`${id} has failed`, () => shown(id)?.state === "failed");
      return shown(id)!.error!;
    },
    gone: (id: string) => until(`${id} is gone`, () => !shown(id)),
  };
}

const loads = (engine: OllamaEngine) => engine.requests.filter(({ path }) => path === "/api/chat");
const unloads = (engine: OllamaEngine) =>
  engine.requests.filter(({ path, body }) => path === "/api/generate" && body.keep_alive === 0);

test("several at once, each once, beside those of the worker type", async () => {
  await using engine = await startOllamaEngine();
  const here = await worker(engine, { first: ["must"] });
  here.ensure("a", "b", "a");
  here.ensure("b", "must");
  for (const id of ["must", "a", "b"]) await here.becomes(id, "ready");
  expect(here.ids()).toEqual(["must", "a", "b"]);
  expect(here.board.current.models.map(({ required }) => required)).toEqual([true, false, false]);
  expect(here.remembered.asked.map(({ reference }) => reference)).toEqual(["a", "b"]);
  expect(loads(engine)).toHaveLength(3);
  expect(here.board.current.ready).toBe(true);
  expect(
    await here.jobs.start(chatJob({ model: "b" }), { onChunk: () => null, signal: new AbortController().signal }),
  ).toMatchObject({
    status: "done",
  });
});

test("two that fit alone and not together are not both taken", async () => {
  await using engine = await startOllamaEngine();
  const here = await worker(engine, {
    select:
      async ({ model: { id } }) =>
      (placed) => {
        if (placed.models.length > 0) throw new MusterError("NOTHING_FITS", `${id} is one too many.`, { hint: "-" });
        return { ...selectSpec(id), runTime: true };
      },
  });
  here.ensure("a", "b");
  expect(await here.fails("b")).toMatchObject({ code: "NOTHING_FITS" });
  expect(here.shown("a")?.error?.code).not.toBe("NOTHING_FITS");
  expect(here.remembered.asked.map(({ reference }) => reference)).toEqual(["a"]);
});

function selectSpec(id: string): ModelSpec {
  const { task, license, gated, variants } = model(id, [
    variant("only", 1, { engine: "ollama", source: "path", location: `/nowhere/${id}` }),
  ]);
  return {
    ...{ id, task, license, gated },
    variant: variants[0]!,
    required: false,
    context: null,
    slots: null,
    gpus: [],
    share: { gpuMemory: null, sequences: null },
    ...{ prompts: {}, adapterOf: null },
    reason: "-",
  };
}

test("what passes is asked again, and shown meanwhile", async () => {
  await using engine = await startOllamaEngine();
  let asked = 0;
  const here = await worker(engine, {
    select: async ({ model: { id } }) => {
      asked += 1;
      if (asked < 4) throw new MusterError("HOST_UNREACHABLE", "The hub is away.", { hint: "Wait." });
      return () => ({ ...selectSpec(id), runTime: true });
    },
  });
  const told: string[] = [];
  here.board.onChange(({ kind }) => {
    const shown = here.shown("a");
    if (kind === "model" && shown?.error) told.push(`${shown.state} ${shown.error.code}`);
  });
  here.ensure("a");
  await until("it is chosen", () => here.engines.find("a"));
  expect(asked).toBe(4);
  expect(told.slice(0, 3)).toEqual(Array(3).fill("requested HOST_UNREACHABLE"));
});

test("what cannot be is refused with the reason, and may be asked for again", async () => {
  await using engine = await startOllamaEngine();
  const here = await worker(engine, { first: ["must"] });
  here.ensure("large", "for-vllm", "hf:acme/other", "nothing");
  expect((await here.fails("large")).message).toMatch(/^large does not fit this worker beside must: needs 1002\.0 GiB/);
  expect((await here.fails("for-vllm")).hint).toContain("VLLM_URL");
  expect((await here.fails("hf:acme/other")).code).toBe("MODEL_NOT_ALLOWED");
  expect((await here.fails("nothing")).code).toBe("MODEL_UNKNOWN");
  expect(here.remembered.asked).toEqual([]);
  const told: string[] = [];
  here.board.onChange(
    (event) =>
      void ("model" in event && typeof event.model === "object" && told.push(`${event.model.id} ${event.model.state}`)),
  );
  here.ensure("large");
  await until("it is answered anew", () => told.includes("large failed"));
  expect(told).toContain("large requested");
  here.remove("large");
  await here.gone("large");
  // Nobody fills the board with what cannot be had.
  here.ensure(...Array.from({ length: 100 }, (_, index) => `nothing-${index}`));
  expect(here.ids().length).toBeLessThan(70);
  expect(here.ids()).toContain("nothing-99");
});

test("a removed model leaves the engine's memory; one that is required stays", async () => {
  await using engine = await startOllamaEngine();
  const here = await worker(engine, { first: ["must", "may"] });
  here.ensure("a");
  for (const id of ["must", "may", "a"]) await here.becomes(id, "ready");
  here.remove("must", "may", "a", "unknown");
  await here.gone("may");
  await here.gone("a");
  expect(here.shown("must")).toMatchObject({ state: "ready", error: { code: "MODEL_REQUIRED" } });
  expect(
    unloads(engine)
      .map(({ body }) => body.model.split("/").at(-1))
      .sort(),
  ).toEqual(["a", "may"]);
  expect([here.remembered.asked, here.remembered.removed]).toEqual([[], ["may"]]);
  expect(here.engines.find("a")).toBeNull();
  expect(here.jobs.modelFor("chat")).toBe("must");
  // The next process does without it, too, until somebody asks for it again.
  const next = await worker(engine, { first: ["must", "may"], state: here.state });
  expect(next.ids()).toEqual(["must"]);
  next.ensure("must", "may");
  await next.becomes("may", "ready");
  expect(next.shown("must")?.error).toBeNull();
  expect(next.remembered.removed).toEqual([]);
});

test("removed while it is loaded: the load is broken off; asked for meanwhile, it comes back", async () => {
  await using engine = await startOllamaEngine();
  engine.script.headers = new Promise(() => undefined);
  const here = await worker(engine, {});
  here.ensure("a");
  const { gone } = await engine.asked("/api/chat");
  engine.script.headers = Promise.resolve();
  here.remove("a");
  here.ensure("a");
  await gone;
  await here.becomes("a", "ready");
  expect(here.remembered.asked.map(({ reference }) => reference)).toEqual(["a"]);
});

test("who leaves takes nothing new, and remembers what it had", async () => {
  await using engine = await startOllamaEngine();
  const here = await worker(engine, {});
  here.ensure("a");
  await here.becomes("a", "ready");
  here.board.update({ state: "draining" });
  here.stop.abort();
  here.ensure("a", "b");
  expect((await here.fails("b")).code).toBe("DRAINING");
  expect(here.shown("a")?.state).toBe("ready");
  const next = await worker(engine, { state: here.state });
  await until("it is remembered", () => next.shown("a"));
});
