import { describe, expect, it } from "vitest";
import type { ModelSpec, Variant } from "../../../src/model.ts";
import type { EnginePlan, StoredFacts } from "../../../src/serve/engines/engine-plan.ts";
import { vllmStart } from "../../../src/serve/engines/vllm-command.ts";
import { gpu, machine } from "../../select/machine.ts";
import { spec } from "./spec.ts";

const SHARE = { gpuMemory: 0.9, sequences: 8 };

function llm(id = "chat", variant: Partial<Variant> = {}, change: Partial<ModelSpec> = {}): ModelSpec {
  return spec(id, variant, { gpus: [0], share: SHARE, ...change });
}

function at(path: string, facts: Partial<StoredFacts> = {}): StoredFacts {
  return { path, quantization: null, loraRank: null, ...facts };
}

function plan(models: ModelSpec[], change: Partial<EnginePlan> = {}): EnginePlan {
  return {
    models,
    hardware: machine([gpu(24), gpu(24)]),
    engineUrls: { ollama: null, vllm: "http://127.0.0.1:8000/v1", openai: null },
    engineSettings: {},
    stored: new Map(models.map(({ id }) => [id, at(`/models/${id}`)])),
    ...change,
  };
}

/** The command line, in one. */
function started(command: string, given: EnginePlan): string | undefined {
  return vllmStart(command.split(" "), given)?.command.join(" ");
}

const USUAL =
  "--served-model-name chat --host 127.0.0.1 --port 8000 --max-model-len 4096 --gpu-memory-utilization 0.9 --max-num-seqs 8";

describe("what is derived", () => {
  it("one model on one GPU", () => {
    expect(started("vllm serve", plan([llm()]))).toBe(`vllm serve /models/chat ${USUAL}`);
  });

  it("before it is stored it goes by its name at its source", () => {
    expect(started("vllm serve", plan([llm()], { stored: new Map() }))).toContain("vllm serve org/chat --served");
  });

  it.each([2, 4])("over %i GPUs by tensor parallelism", (gpuCount) => {
    expect(started("vllm serve", plan([llm("chat", { gpuCount })]))).toContain(` --tensor-parallel-size ${gpuCount} `);
  });

  it("its share of a card that it does not have alone; nothing that the plan leaves open", () => {
    const shared = llm("chat", {}, { share: { gpuMemory: 0.3141, sequences: null }, context: null });
    expect(started("vllm serve", plan([shared]))).toBe(
      "vllm serve /models/chat --served-model-name chat --host 127.0.0.1 --port 8000 --gpu-memory-utilization 0.3141",
    );
    const unbounded = llm("chat", {}, { share: { gpuMemory: null, sequences: null } });
    expect(started("vllm serve", plan([unbounded]))).not.toContain("--gpu-memory-utilization");
  });

  it.each([
    ["awq", "awq", null],
    ["gptq", "gptq", null],
    // What the files say, vLLM reads there; another word would keep it from starting.
    ["fp8", "compressed-tensors", null],
    ["fp8", null, "fp8"],
    ["bitsandbytes", null, "bitsandbytes"],
    ["q4_K_M", null, null],
    [null, null, null],
  ])("quantized by %s, where config.json says %s: told %s", (quantization, found, told) => {
    const stored = new Map([["chat", at("/models/chat", { quantization: found })]]);
    const line = started("vllm serve", plan([llm("chat", { quantization })], { stored }));
    expect(/--quantization (\S+)/.exec(line ?? "")?.[1] ?? null).toBe(told);
  });

  it.each(["embedding", "rerank"] as const)(
    "a model for %s is a pooling one, whose jobs are many sequences",
    (task) => {
      const line = started("vllm serve", plan([llm("chat", {}, { task, context: 512 })]));
      expect(line).toContain("--runner pooling");
      expect(line).not.toContain("--max-num-seqs");
      expect(started("vllm serve --task embed", plan([llm("chat", {}, { task })]))).not.toContain("--runner");
    },
  );

  it.each([
    ["http://127.0.0.1:9000", "--host 127.0.0.1 --port 9000"],
    ["http://localhost:9000/v1", "--host localhost --port 9000"],
    ["http://[::1]:9000", "--host ::1 --port 9000"],
    // By a name that this machine may not have itself.
    ["http://worker-1:9000", "--served-model-name chat --port 9000"],
    ["http://worker-1", "--port 80"],
  ])("it listens where %s finds it", (vllm, expected) => {
    expect(started("vllm serve", plan([llm()], { engineUrls: { ollama: null, openai: null, vllm } }))).toContain(
      expected,
    );
  });

  it("nothing of the address where a proxy with TLS stands before it", () => {
    const engineUrls = { ollama: null, openai: null, vllm: "https://worker-1:9000" };
    expect(started("vllm serve", plan([llm()], { engineUrls }))).not.toMatch(/--(host|port)/);
  });
});

describe("what the operator gives", () => {
  it.each([
    ["--max-model-len 1", "max-model-len"],
    ["--max-model-len=1", "max-model-len"],
    ["--max_model_len 1", "max-model-len"],
    ["--gpu_memory_utilization=0.5", "gpu-memory-utilization"],
    ["-tp 2", "tensor-parallel-size"],
    ["-tp=2", "tensor-parallel-size"],
    ["-pp 2", "tensor-parallel-size"],
    ["-q fp8", "quantization"],
    ["--port 9", "port"],
    ["--served-model-name a b", "served-model-name"],
  ])("%s: nothing is added for %s", (given, name) => {
    const line = started(`vllm serve ${given}`, plan([llm("chat", { gpuCount: 2, quantization: "fp8" })])) ?? "";
    expect(line.startsWith(`vllm serve /models/chat ${given} --`)).toBe(true);
    const added = line.slice(`vllm serve /models/chat ${given}`.length);
    expect(added).not.toContain(`--${name} `);
    expect(added).toContain("--max-num-seqs 8");
  });

  it.each([
    "vllm serve org/chat --port 9",
    "vllm serve --port 9 org/chat",
    "vllm serve --port=9 org/chat",
    "vllm serve --enforce-eager chat",
    "vllm serve /models/chat/",
    "vllm serve --model org/chat",
    "vllm serve --model=chat",
    "vllm serve --served-model-name a b --model org/chat",
  ])("%s: the model is left as it is, and the rest is derived for it", (command) => {
    const line = started(command, plan([llm("first"), llm("chat")])) ?? "";
    expect(line.startsWith(`${command} --`)).toBe(true);
    expect(line).toContain("--max-num-seqs 8");
    expect(line).not.toContain("first");
  });

  it("a model that is not in the plan: nothing is derived, and that is told", () => {
    const start = vllmStart(["vllm", "serve", "org/other"], plan([llm()]));
    expect(start).toMatchObject({ command: ["vllm", "serve", "org/other"], serves: [] });
    expect(start?.notices).toEqual([
      "vLLM is started with org/other, which is not in the plan: nothing is derived for it",
    ]);
  });

  it("a file of his own: nothing is derived, because the command line would win over it", () => {
    const start = vllmStart(["vllm", "serve", "--config", "vllm.yaml"], plan([llm()]));
    expect(start?.command).toEqual(["vllm", "serve", "--config", "vllm.yaml"]);
    expect(start?.notices[0]).toContain("--config");
  });

  it.each([
    ["/opt/venv/bin/vllm serve", `/opt/venv/bin/vllm serve /models/chat ${USUAL}`],
    ["nice -n 5 vllm serve", `nice -n 5 vllm serve /models/chat ${USUAL}`],
    [
      "python3 -m vllm.entrypoints.openai.api_server --seed 1",
      `python3 -m vllm.entrypoints.openai.api_server --model /models/chat --seed 1 ${USUAL}`,
    ],
  ])("%s is understood", (command, expected) => {
    expect(started(command, plan([llm()]))).toBe(expected);
  });

  it.each(["ollama serve", "start-engine.sh", "vllm bench", "sh -c vllm"])("%s is not vLLM's", (command) => {
    expect(vllmStart(command.split(" "), plan([llm()]))).toBeNull();
  });
});

describe("engineSettings", () => {
  const engineSettings = {
    "max-num-batched-tokens": 8192,
    max_model_len: 2048,
    "enable-prefix-caching": true,
    "enable-chunked-prefill": false,
    VLLM_USE_V1: 1,
  };

  it("are arguments that win over what is derived", () => {
    const line = started("vllm serve", plan([llm()], { engineSettings }));
    expect(line).toMatch(
      /^vllm serve \/models\/chat --max-num-batched-tokens 8192 --max-model-len 2048 --enable-prefix-caching --no-enable-chunked-prefill --served-model-name chat /,
    );
    expect(line).not.toContain("4096");
    expect(line).not.toContain("VLLM_USE_V1");
  });

  it("and the operator's own win over them", () => {
    const given = "vllm serve --max-model-len 1 --no-enable-prefix-caching --enable_chunked_prefill";
    const line = started(given, plan([llm()], { engineSettings })) ?? "";
    expect(line.match(/model-len|prefix-caching|chunked.prefill/g)).toHaveLength(3);
  });
});

describe("several models", () => {
  it("vLLM serves the first, and the others are told of", () => {
    const start = vllmStart(["vllm", "serve"], plan([llm("one"), llm("two"), spec("three", { engine: "ollama" })]));
    expect(start?.serves.map(({ id }) => id)).toEqual(["one"]);
    expect(start?.notices).toEqual(["vLLM serves one model a process: two need a server of their own"]);
  });

  it("none: vLLM is started as it is", () => {
    const start = vllmStart(["vllm", "serve", "--port", "9"], plan([spec("three", { engine: "ollama" })]));
    expect(start).toMatchObject({ command: ["vllm", "serve", "--port", "9"], serves: [] });
    expect(start?.notices).toHaveLength(1);
  });
});

describe("LoRA adapters", () => {
  const sql = llm("sql", {}, { adapterOf: "chat" });
  const law = llm("law", {}, { adapterOf: "chat", required: false });
  const stored = (facts: Record<string, Partial<StoredFacts>>) =>
    new Map(Object.entries({ chat: {}, ...facts }).map(([id, each]) => [id, at(`/models/${id}`, each)]));

  it("go with their model, at the least rank that takes all of them", () => {
    const models = [llm(), sql, law, llm("else", {}, { adapterOf: "other" })];
    const start = vllmStart(
      ["vllm", "serve"],
      plan(models, { stored: stored({ sql: { loraRank: 12 }, law: { loraRank: 40 } }) }),
    );
    expect(start?.command.join(" ")).toBe(
      `vllm serve /models/chat ${USUAL} --enable-lora --max-loras 2 --max-lora-rank 64 --lora-modules sql=/models/sql law=/models/law`,
    );
    expect(start?.serves.map(({ id }) => id)).toEqual(["chat", "sql", "law"]);
    expect(start?.notices).toEqual([]);
  });

  it("that are not there, or no adapters, are left out", () => {
    const start = vllmStart(["vllm", "serve"], plan([llm(), sql, law], { stored: stored({ sql: {} }) }));
    expect(start?.command).not.toContain("--enable-lora");
    expect(start?.notices).toEqual([
      "sql is left out: its adapter_config.json names no rank",
      "law is left out for as long as it is not on the volume",
    ]);
  });

  it("are the operator's affair where he says so", () => {
    const given = plan([llm(), sql], { stored: stored({ sql: { loraRank: 8 } }) });
    expect(started("vllm serve --no-enable-lora", given)).not.toContain("--lora-modules");
    expect(started("vllm serve --lora-modules a=b --max-lora-rank 16", given)).toMatch(/--enable-lora --max-loras 1$/);
  });
});
