import { expect, test } from "vitest";
import { policyRefusal } from "../../src/select/model-policy.ts";
import { namedModel } from "../../src/select/named-models.ts";
import type { Catalog } from "../../src/select/worker-types.ts";
import type { ModelPolicy } from "../../src/settings/policy.ts";
import { model, variant } from "./machine.ts";

const models = [
  model("tiny", [variant("fp16", 1, { minGpuMemoryGb: 8 }), variant("gptq", 1, { revision: "v2" })]),
  model("folder", [variant("disk", 1, { source: "path", location: "/mnt/models/folder" })]),
  model("llama", [variant("q4", 1, { source: "ollama", location: "llama3.2:latest", engine: "ollama" })]),
];
const catalog: Catalog = { models: new Map(models.map((each) => [each.id, each])), workerTypes: new Map() };
const patterns = ["hf:acme/*", "ollama:qwen*", "s3://models/prod/**", "ollama:hf.co/acme/*"];

const DECLARED = [
  "tiny",
  "acme/fp16",
  "hf:acme/fp16",
  "hf:acme/gptq@v2",
  "folder",
  "/mnt/models/folder",
  "ollama:llama3.2",
];
const NEVER = ["/etc", "file:///etc", "path:/etc", "./x", "~/x"];

test.each<[ModelPolicy["mode"], string[], string[]]>([
  ["catalog", [], ["hf:acme/new", "hf:acme/gptq", "ollama:qwen2.5:0.5b", "s3://models/prod/x"]],
  [
    "patterns",
    ["hf:acme/new", "hf:acme/new@v3", "ollama:qwen2.5:0.5b", "s3://models/prod/a/b", "ollama:hf.co/acme/x"],
    ["hf:other/new", "hf:acme/new@refs/pr/1", "ollama:user/qwen", "ollama:evil.example/a/qwen", "s3://models/test/x"],
  ],
  [
    "any",
    ["hf:other/new", "hf:acme/new@refs/pr/1", "s3://models/test/x", "ollama:hf.co/acme/x"],
    ["ollama:evil.example/a/qwen"],
  ],
])("MODEL_POLICY=%s", (mode, allowed, refused) => {
  const refusal = (reference: string) => policyRefusal(reference, { mode, patterns }, catalog);
  for (const reference of [...DECLARED, ...allowed]) expect(refusal(reference), reference).toBeNull();
  for (const reference of [...NEVER, ...refused]) {
    expect(refusal(reference)?.code, reference).toBe("MODEL_NOT_ALLOWED");
    expect(refusal(reference)?.message).toContain(reference);
  }
});

test("a model is named by id, by its place, or by a reference to one of its variants or to none", () => {
  expect(namedModel("tiny", catalog)).toBe(models[0]);
  expect(namedModel("acme/gptq", catalog)).toBe(models[0]);
  const declared = namedModel("hf:acme/fp16", catalog)!;
  expect(declared).toEqual({ ...models[0], id: "hf:acme/fp16", variants: [models[0]!.variants[0]] });
  const undeclared = namedModel("hf:acme/new@v3", catalog, { task: "embedding", engine: "openai" });
  expect(undeclared).toMatchObject({
    ...{ id: "hf:acme/new@v3", task: "embedding" },
    variants: [{ source: "huggingface", location: "acme/new", revision: "v3", engine: "openai", allowPickle: false }],
  });
  expect(namedModel("ollama:new", catalog)).toMatchObject({
    task: "chat",
    variants: [{ engine: "ollama", format: "gguf" }],
  });
  expect(namedModel("nothing", catalog)).toBeNull();
});
