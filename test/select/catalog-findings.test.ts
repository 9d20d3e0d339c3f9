import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseCatalogFile } from "../../src/select/catalog-file.ts";
import { catalogFindings } from "../../src/select/catalog-findings.ts";
import { overlaySchema } from "../../src/select/catalog-schema.ts";
import { smallestMachine } from "../../src/select/smallest-machine.ts";
import { linkCatalog, readCatalog } from "../../src/select/worker-types.ts";

const SHAPE = { attentionLayers: 32, heads: 32, kvHeads: 8, headDim: 128, hiddenSize: 4096, maxContext: 32768 };
const fine = { source: "huggingface", repo: "acme/tiny", engine: "vllm", sizeBytes: 1e9 };
const model = (...variants: object[]) => ({ task: "chat", variants });

async function findings(...documents: (object | string)[]) {
  const files = await Promise.all(
    documents.map((document, index) => {
      const text = typeof document === "string" ? document : JSON.stringify(document, null, 2);
      return parseCatalogFile(`${index}.json`, text, overlaySchema);
    }),
  );
  return (await catalogFindings(files)).map(
    ({ level, file, line, path, found }) => `${level} ${file}:${line} ${path.join(".")}: ${found}`,
  );
}

/** A catalog of one model that one worker type has. */
const one = (variant: object, type: object = { gpu: "preferred" }, reference: object = {}) => ({
  models: { tiny: model(variant) },
  workerTypes: { chat: { models: [{ model: "tiny", ...reference }], ...type } },
});

it("finds nothing wrong with the built-in catalog", async () => {
  const { readCatalogFiles } = await import("../../src/select/catalog-file.ts");
  const found = await catalogFindings(
    await readCatalogFiles(join(import.meta.dirname, "../../worker-types.json"), null),
  );
  expect(found.filter(({ level }) => level === "fail")).toEqual([]);
  // Both of their publishers have nothing but pickles.
  expect(found.map(({ path }) => path.join("."))).toEqual([
    "models.opt-125m.variants.0.allowPickle",
    "models.bge-m3.variants.0.allowPickle",
  ]);
});

it("finds nothing wrong with a catalog of the least fields, but what nobody can reckon with", async () => {
  expect(await findings(one(fine))).toEqual([]);
  expect(await findings(one({ ...fine, sizeBytes: undefined }))).toEqual([
    "warn 0.json:6 models.tiny.variants.0: says nothing of its size, so without a network nobody knows whether it fits",
  ]);
});

describe("a model", () => {
  it.each<[string, object, string]>([
    [
      "cannot be split",
      { ...fine, gpuCount: 3, architecture: SHAPE },
      "fail 0.json:11 models.tiny.variants.0.gpuCount: 32 attention heads do not divide by 3 GPUs",
    ],
    [
      "needs more than it declares",
      { ...fine, minGpuMemoryGb: 8, sizeBytes: 14_483_498_224, architecture: SHAPE },
      "warn 0.json:11 models.tiny.variants.0.minGpuMemoryGb: declares 8 GB, and needs 17.0 GiB with 8192 tokens, so a card of 24 GB",
    ],
    [
      "is larger than any card",
      { ...fine, sizeBytes: 800e9 },
      "warn 0.json:6 models.tiny.variants.0: needs 747.6 GiB, more than any card has (288 GB)",
    ],
    [
      "comes from where its engine does not look",
      { ...fine, source: "ollama", name: "tiny" },
      "fail 0.json:9 models.tiny.variants.0.engine: vllm does not read Ollama's store",
    ],
    [
      "is not given to Ollama",
      { ...fine, engine: "ollama" },
      "warn 0.json:9 models.tiny.variants.0.engine: Ollama reads its own store only, and not what comes from huggingface",
    ],
    [
      "has pickles from a branch",
      { ...fine, allowPickle: true },
      "warn 0.json:11 models.tiny.variants.0.allowPickle: allows pickles from main, which its publisher may change at any time",
    ],
  ])("that %s", async (_what, variant, finding) => {
    expect(await findings(one(variant))).toEqual(expect.arrayContaining([finding]));
  });

  it("that nobody has, that has a field too many, and a variant behind a better one", async () => {
    const { workerTypes } = one(fine);
    const large = { ...fine, id: "large", sizeBytes: 2e9, path: "/somewhere" };
    expect(await findings({ models: { tiny: model(fine, large), spare: model(fine) }, workerTypes })).toEqual([
      "warn 0.json:12 models.tiny.variants.1: is never taken: huggingface:acme/tiny stands before it and needs no more",
      "warn 0.json:18 models.tiny.variants.1.path: path is not looked at, because source is huggingface",
      "warn 0.json:22 models.spare: no worker type has spare",
    ]);
  });

  it("that takes fewer tokens than it is said to", async () => {
    const catalog = { ...one({ ...fine, architecture: SHAPE }) };
    const models = { tiny: { ...catalog.models.tiny, contextLength: 131_072 } };
    expect((await findings({ ...catalog, models })).join()).toContain(
      "the model is said to take 131072 tokens, this variant's architecture 32768",
    );
  });
});

describe("a worker type", () => {
  it.each<[string, object, object, string]>([
    [
      "with a condition that no machine meets",
      { gpu: "preferred" },
      { when: { minGpuMemoryGb: 24, maxGpuMemoryGb: 24 } },
      "models.0.when.maxGpuMemoryGb: no machine has minGpuMemoryGb 24 and maxGpuMemoryGb 24",
    ],
    [
      "without a GPU that asks for one",
      { gpu: "none" },
      { when: { minGpuCount: 2 } },
      "models.0.when.gpu: the worker type uses no GPU, and this asks for one",
    ],
    [
      "with a GPU that asks for none",
      { gpu: "required" },
      { when: { gpu: false } },
      "models.0.when.gpu: the worker type runs with a GPU only",
    ],
  ])("%s", async (_what, type, reference, finding) => {
    expect((await findings(one(fine, type, reference))).join("\n")).toMatch(
      new RegExp(`fail 0\\.json:\\d+ workerTypes\\.chat\\.${RegExp.escape(finding)}`),
    );
  });

  it("whose models need a GPU and that has none", async () => {
    const found = await findings(one({ ...fine, minGpuMemoryGb: 8 }, { gpu: "none" }));
    expect(found.join()).toMatch(/^fail .*models\.0: every variant of tiny needs a GPU, and the worker type uses none/);
  });

  it("whose slots and models are for other things", async () => {
    expect(await findings(one(fine, { gpu: "none", slots: { embedding: 2 } }))).toEqual([
      "warn 0.json:18 workerTypes.chat.models.0: tiny is for chat, and the worker type has slots for embedding only",
      "warn 0.json:24 workerTypes.chat.slots.embedding: none of its models takes embedding jobs",
    ]);
  });

  it("with a model twice, unless only one of them holds at a time", async () => {
    const twice = (first: object, second: object) => {
      const models = [
        { model: "tiny", when: first },
        { model: "tiny", when: second },
      ];
      return findings({ models: { tiny: model(fine) }, workerTypes: { chat: { gpu: "preferred", models } } });
    };
    expect((await twice({}, { minMemoryGb: 1 })).join()).toMatch(/^warn .*models\.1: tiny stands there twice/);
    expect(await twice({ maxGpuMemoryGb: 24 }, { minGpuMemoryGb: 24 })).toEqual([]);
  });

  it("whose required models fit together on no machine", async () => {
    const huge = { ...fine, sizeBytes: 200e9 };
    const models = Object.fromEntries(Array.from({ length: 11 }, (_, index) => [`m${index}`, model(huge)]));
    const found = await findings({ models, workerTypes: { chat: { gpu: "required", models: Object.keys(models) } } });
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(/^fail \S+ workerTypes\.chat\.models: its required models fit together on no machine: /);
  });
});

it("sees what stands there twice, which readers of JSON do not", async () => {
  const entry = JSON.stringify(model(fine));
  const text = `{ "models": { "tiny": ${entry},\n"tiny": ${entry} },\n"workerTypes": { "chat": { "gpu": "none", "models": ["tiny"] } } }`;
  expect(await findings(text)).toEqual(["fail 0.json:2 models.tiny: tiny stands there twice"]);
});

it("checks in the overlay what that says in place of the catalog", async () => {
  const odd = one({ ...fine, source: "ollama", name: "tiny", repo: undefined });
  expect(await findings(odd, { models: { tiny: model(fine) } })).toEqual([]);
  expect(await findings(one(fine), { models: odd.models })).toEqual([
    expect.stringMatching(/^fail 1\.json:\d+ models\.tiny\.variants\.0\.engine/),
  ]);
});

it("tells the smallest machine for a worker type", async () => {
  const catalog = await readCatalog(join(import.meta.dirname, "../../worker-types.json"), null);
  const of = (id: string) => smallestMachine(catalog.workerTypes.get(id)!);
  expect(of("llm-infrastructure")).toEqual({ gpuMemoryGb: 24, gpuCount: 1 });
  expect(of("cpu-worker")).toBeNull();
  const pair = { ...fine, gpuCount: 2, sizeBytes: 100e9 };
  const text = JSON.stringify(one(pair, { gpu: "required" }));
  const linked = linkCatalog([await parseCatalogFile("a.json", text, overlaySchema)]);
  expect(smallestMachine(linked.workerTypes.get("chat")!)).toEqual({ gpuMemoryGb: 64, gpuCount: 2 });
});
