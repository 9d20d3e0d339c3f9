import { describe, expect, it, test } from "vitest";
import { parseConfig } from "../../../src/config.ts";
import type { ModelSpec } from "../../../src/model.ts";
import type { EnginePlan } from "../../../src/serve/engines/engine-plan.ts";
import { engineStart, withSupervised } from "../../../src/serve/engines/engine-start.ts";
import { gpu, machine } from "../../select/machine.ts";
import { spec } from "./spec.ts";

const config = parseConfig({ MODEL_CACHE_DIR: "/models", LOG_FILE: "none" });

function start(
  command: string,
  models: ModelSpec[],
  { env = {}, ...change }: Partial<EnginePlan> & { env?: Record<string, string> } = {},
) {
  const [file = "", ...args] = command.split(" ");
  const plan: EnginePlan = {
    models,
    hardware: machine([gpu(24)]),
    engineUrls: { ollama: "http://127.0.0.1:11434", vllm: null, openai: null },
    engineSettings: {},
    stored: new Map(),
    ...change,
  };
  const { variables, ...rest } = engineStart([file, ...args], plan, { config, env });
  const {
    HF_HOME,
    HF_HUB_CACHE,
    HF_HUB_OFFLINE,
    OLLAMA_MODELS,
    OLLAMA_NOPRUNE,
    OLLAMA_NO_CLOUD,
    VLLM_CACHE_ROOT,
    ...own
  } = variables;
  expect([HF_HOME, HF_HUB_CACHE, OLLAMA_MODELS, VLLM_CACHE_ROOT]).toEqual([
    "/models/huggingface",
    "/models/huggingface/hub",
    "/models/ollama",
    "/models/vllm",
  ]);
  expect([HF_HUB_OFFLINE, OLLAMA_NOPRUNE, OLLAMA_NO_CLOUD]).toEqual(["1", "1", "1"]);
  return { ...rest, own };
}

const share = (sequences: number | null) => ({ gpuMemory: null, sequences });
const ofOllama = (id: string, change: Partial<ModelSpec> = {}) =>
  spec(id, { engine: "ollama" }, { gpus: [0], ...change });

describe("Ollama", () => {
  const models = [
    ofOllama("chat", { context: 8192, share: share(4) }),
    ofOllama("see", { context: 4096, share: share(4) }),
    ofOllama("embed", { task: "embedding", context: null, share: share(16) }),
    spec("other", {}, { context: 512, share: share(32) }),
  ];

  it("is told by its environment: what fits at once, and to keep it loaded", () => {
    const { command, own, serves } = start("ollama serve", models);
    expect(command).toEqual(["ollama", "serve"]);
    expect(serves.map(({ id }) => id)).toEqual(["chat", "see", "embed"]);
    expect(own).toEqual({
      OLLAMA_HOST: "127.0.0.1:11434",
      OLLAMA_NUM_PARALLEL: "4",
      OLLAMA_MAX_LOADED_MODELS: "3",
      OLLAMA_CONTEXT_LENGTH: "4096",
      OLLAMA_KEEP_ALIVE: "-1",
    });
  });

  it("the operator's environment wins over engineSettings, and these over what is derived", () => {
    const engineSettings = {
      OLLAMA_FLASH_ATTENTION: true,
      OLLAMA_KEEP_ALIVE: "1h",
      OLLAMA_NUM_PARALLEL: 3,
      "max-model-len": 1,
    };
    const env = { OLLAMA_NUM_PARALLEL: "2", OLLAMA_HOST: "0.0.0.0" };
    expect(start("ollama serve", models, { engineSettings, env }).own).toEqual({
      OLLAMA_MAX_LOADED_MODELS: "3",
      OLLAMA_CONTEXT_LENGTH: "4096",
      OLLAMA_KEEP_ALIVE: "1h",
      OLLAMA_FLASH_ATTENTION: "1",
    });
  });

  it("where models and caches are is nobody's to change", () => {
    start("ollama serve", models, {
      engineSettings: { OLLAMA_MODELS: "/x", HF_HOME: "/x" },
      env: { VLLM_CACHE_ROOT: "/x" },
    });
  });

  it.each([
    ["http://worker-1:11434", "0.0.0.0:11434"],
    ["http://[::1]:9", "[::1]:9"],
    ["https://worker-1", undefined],
  ])("listens where %s finds it: %s", (ollama, expected) => {
    const engineUrls = { ollama, vllm: null, openai: null };
    expect(start("ollama serve", models, { engineUrls }).own.OLLAMA_HOST).toBe(expected);
  });
});

describe("GPUs", () => {
  const four = machine([gpu(24), gpu(24), gpu(24), gpu(24)]);
  it.each<[string, Partial<ModelSpec>[], Record<string, string>]>([
    ["all of them are the engine's", [{ gpus: [0, 1, 2, 3] }], {}],
    ["some", [{ gpus: [3, 1] }], { CUDA_DEVICE_ORDER: "PCI_BUS_ID", CUDA_VISIBLE_DEVICES: "1,3" }],
    ["none", [{ gpus: [] }], {}],
  ])("%s", (_what, changes, expected) => {
    const models = changes.map((change, index) => spec(`m${index}`, {}, change));
    expect(start("vllm serve", models, { hardware: four, env: { CUDA_VISIBLE_DEVICES: "0,1,2,3" } }).own).toEqual(
      expected,
    );
  });

  it("that were narrowed already keep the numbers that the driver gives them", () => {
    const hardware = { ...four, gpus: four.gpus.slice(2) };
    expect(start("vllm serve", [spec("m", {}, { gpus: [1] })], { hardware }).own.CUDA_VISIBLE_DEVICES).toBe("3");
  });

  it("a MIG device goes by its UUID, an AMD one by AMD's own variable", () => {
    const mig = machine([gpu(24), gpu(10)]);
    mig.gpus[1] = { ...mig.gpus[1]!, mig: true, uuid: "MIG-1" };
    expect(start("vllm serve", [spec("m", {}, { gpus: [1] })], { hardware: mig }).own.CUDA_VISIBLE_DEVICES).toBe(
      "MIG-1",
    );
    const amd = { ...four, gpuVendor: "amd" as const };
    expect(start("ollama serve", [ofOllama("m", { gpus: [2] })], { hardware: amd }).own.HIP_VISIBLE_DEVICES).toBe("2");
  });

  it("of each engine those that its own models were placed on", () => {
    const models = [spec("a", {}, { gpus: [0] }), ofOllama("b", { gpus: [1] })];
    expect(start("vllm serve", models, { hardware: four }).own.CUDA_VISIBLE_DEVICES).toBe("0");
    expect(start("ollama serve", models, { hardware: four }).own.CUDA_VISIBLE_DEVICES).toBe("1");
    expect(start("start-engine.sh", models, { hardware: four })).toMatchObject({ own: {}, serves: [], notices: [] });
  });
});

test("an engine that muster starts need not be named by its URL", () => {
  const none = { ollama: null, vllm: null, openai: null };
  const urlOf = (command: string, env = {}) => {
    const { ollama, vllm } = withSupervised(none, command.split(" "), env);
    return ollama ?? vllm;
  };
  expect(urlOf("vllm serve")).toBe("http://127.0.0.1:8000");
  expect(urlOf("vllm serve --host 0.0.0.0 --port=9")).toBe("http://127.0.0.1:9");
  expect(urlOf("vllm serve --host 10.0.0.7 --port 9")).toBe("http://10.0.0.7:9");
  expect(urlOf("vllm serve --host ::1")).toBe("http://[::1]:8000");
  expect(urlOf("ollama serve")).toBe("http://127.0.0.1:11434");
  expect(urlOf("ollama serve", { OLLAMA_HOST: "0.0.0.0" })).toBe("http://127.0.0.1:11434");
  expect(urlOf("ollama serve", { OLLAMA_HOST: "http://127.0.0.2:9" })).toBe("http://127.0.0.2:9");
  expect(urlOf("ollama serve", { OLLAMA_HOST: ":9" })).toBe("http://127.0.0.1:9");
  expect(urlOf("other serve")).toBeNull();
  const given = { ...none, vllm: "http://elsewhere:1" };
  expect(withSupervised(given, ["vllm", "serve"], {})).toBe(given);
});
