import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { FileSpec, ModelSpec, StoredModel } from "../../../src/model.ts";
import { keepReady } from "../../../src/serve/engines/keep-ready.ts";
import { openEngines } from "../../../src/serve/engines/open-engines.ts";
import { servedNames } from "../../../src/serve/engines/served-name.ts";
import { createStatusBoard } from "../../../src/status.ts";
import { startOllamaEngine } from "../../fakes/ollama-engine.ts";
import { startOpenAiEngine } from "../../fakes/openai-engine.ts";
import { quietLog } from "../../register/worker.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";
import { until } from "../../until.ts";
import { spec } from "./spec.ts";

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

/** An adapter's folder; the small file has git's digest, as the hub gives it. */
function storedAdapter(files: Record<string, string>): StoredModel {
  const path = temporaryFolder();
  const specs = Object.entries(files).map(([name, text]): FileSpec => {
    writeFileSync(join(path, name), text);
    const digest = name.endsWith(".json")
      ? ({
          algorithm: "git-sha1",
          hex: createHash("sha1").update(`blob ${text.length}\0${text}`).digest("hex"),
        } as const)
      : ({ algorithm: "sha256", hex: sha256(text) } as const);
    return { path: name, size: text.length, digest };
  });
  return { path, files: specs, revision: "1" } as Partial<StoredModel> as StoredModel;
}

/** A worker whose models are stored, kept ready on an engine until the test ends. */
function keep(urls: object, specs: ModelSpec[], stored: Record<string, StoredModel>) {
  const board = createStatusBoard({ version: "1", workerId: "w", bootId: "b", workerType: "t" });
  const engineUrls = { ollama: null, vllm: null, openai: null, ...urls };
  const config = { engineUrls, engineKeys: { vllm: null, openai: null } };
  const engines = openEngines({ config, storedOf: async ({ id }) => stored[id] ?? null });
  engines.serve(specs);
  for (const { id, variant } of specs) board.setModel(id, { engine: variant.engine, state: "stored" });
  const stop = new AbortController();
  const again = { minMs: 1, maxMs: 10 };
  const ended = keepReady({ engines, board, log: quietLog, signal: stop.signal, everyMs: 20, again });
  onTestFinished(() => {
    stop.abort();
    return ended;
  });
  const ready = (id: string) =>
    until(`${id} is ready`, () => board.current.models.some((model) => model.id === id && model.state === "ready"));
  return { board, engines, ready };
}

const base = (engine: "ollama" | "vllm") => spec("chat", { engine, location: "llama3.2" });
const sql = (engine: "ollama" | "vllm") => spec("sql", { engine, location: "org/sql" }, { adapterOf: "chat" });
const PEFT = { "adapter_config.json": '{"r":8}', "adapter_model.safetensors": "weights", "README.md": "words" };

test("on Ollama an adapter becomes a model of its own, once", async () => {
  await using ollama = await startOllamaEngine();
  const first = keep({ ollama: ollama.url }, [base("ollama"), sql("ollama")], { sql: storedAdapter(PEFT) });
  await first.ready("chat");
  await first.ready("sql");
  const [[name, made]] = [...ollama.created] as [[string, object]];
  expect(name).toMatch(/^muster\/sql:[0-9a-f]{12}$/);
  expect(made).toEqual({
    from: "llama3.2",
    adapters: {
      "adapter_config.json": `sha256:${sha256(PEFT["adapter_config.json"])}`,
      "adapter_model.safetensors": `sha256:${sha256(PEFT["adapter_model.safetensors"])}`,
    },
  });
  expect(first.engines.find("sql")?.model).toMatchObject({ id: "sql", name });
  expect(first.engines.find("chat")?.model).toMatchObject({ name: "llama3.2" });
  const { engine, model } = first.engines.find("sql")!;
  const call = { signal: new AbortController().signal, onChunk: null, maxOutputBytes: 1e6 };
  await engine.run("chat", model, { messages: [{ role: "user", content: "Hi" }] }, call);
  expect(ollama.requests.findLast(({ path }) => path === "/api/chat")?.body.model).toBe(name);

  const calls = () => ollama.requests.filter(({ path }) => /create|blobs/.test(path)).length;
  const before = calls();
  const again = keep({ ollama: ollama.url }, [base("ollama"), sql("ollama")], { sql: storedAdapter(PEFT) });
  await again.ready("sql");
  expect(calls()).toBe(before);
});

test("an adapter that changed is another model, and what Ollama has of it is not sent again", async () => {
  await using ollama = await startOllamaEngine();
  await keep({ ollama: ollama.url }, [base("ollama"), sql("ollama")], { sql: storedAdapter(PEFT) }).ready("sql");
  const changed = storedAdapter({ ...PEFT, "adapter_model.safetensors": "better" });
  await keep({ ollama: ollama.url }, [base("ollama"), sql("ollama")], { sql: changed }).ready("sql");
  expect(ollama.created.size).toBe(2);
  const sent = ollama.requests.filter(({ method, path }) => method === "POST" && path.startsWith("/api/blobs/"));
  expect(sent).toHaveLength(3);
  // Nor is one that goes on another revision of its base.
  const newBase = { path: "/", files: [], revision: "2" } as Partial<StoredModel> as StoredModel;
  await keep({ ollama: ollama.url }, [base("ollama"), sql("ollama")], { sql: changed, chat: newBase }).ready("sql");
  expect(ollama.created.size).toBe(3);
});

test("a GGUF adapter is taken as it is; a folder without any is told of, and its base is ready all the same", async () => {
  await using ollama = await startOllamaEngine();
  const gguf = storedAdapter({ "adapter.gguf": "GGUF" });
  await keep({ ollama: ollama.url }, [base("ollama"), sql("ollama")], { sql: gguf }).ready("sql");
  expect([...ollama.created.values()][0]?.adapters).toEqual({ "adapter.gguf": `sha256:${sha256("GGUF")}` });
  const none = keep({ ollama: ollama.url }, [base("ollama"), sql("ollama")], { sql: storedAdapter({ "a.txt": "" }) });
  await none.ready("chat");
  const error = await until("it is told", () => none.board.current.models.find(({ id }) => id === "sql")?.error);
  expect(error).toMatchObject({ code: "FILE_NOT_FOUND" });
});

test("on vLLM an adapter is ready when vLLM lists it", async () => {
  await using vllm = await startOpenAiEngine();
  vllm.models = ["chat"];
  const worker = keep({ vllm: vllm.url }, [base("vllm"), sql("vllm")], {});
  await worker.ready("chat");
  const error = await until("it is told", () => worker.board.current.models.find(({ id }) => id === "sql")?.error);
  expect(error.message).toContain("does not serve sql; it serves chat.");
  vllm.models = ["chat", "sql"];
  await worker.ready("sql");
  expect(vllm.requests.findLast(({ path }) => path === "/v1/chat/completions")?.body.model).toBe("sql");
  expect(worker.engines.find("sql")?.model.name).toBe("sql");
});

test("an alias stands for the model beside its adapters", () => {
  const wanted = [base("vllm"), sql("vllm")].map((each) => ({ spec: each, path: null }));
  const names = (listed: string[] | null) => Object.fromEntries(servedNames(wanted, listed));
  expect(names(["default", "sql"])).toEqual({ chat: "default", sql: "sql" });
  expect(names(["default"])).toEqual({ chat: "default" });
  expect(names(["default", "other", "sql"])).toEqual({ sql: "sql" });
  expect(names(null)).toEqual({ chat: "llama3.2", sql: "sql" });
});
