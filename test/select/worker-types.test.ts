import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { MusterError } from "../../src/errors.ts";
import { findWorkerType, readCatalog } from "../../src/select/worker-types.ts";
import { temporaryFolder } from "../store/temporary-folder.ts";

const EXAMPLE = `{
  "models": {
    "tiny": {
      "task": "chat",
      "variants": [{ "source": "huggingface", "repo": "acme/tiny", "engine": "vllm" }]
    },
    "seer": {
      "task": "vision",
      "variants": [{ "source": "ollama", "name": "llava:7b", "engine": "ollama", "minGpuMemoryGb": 6 }]
    }
  },
  "workerTypes": {
    "gpu-worker": {
      "gpu": "required",
      "minGpuMemoryGb": 8,
      "models": ["tiny", { "model": "seer", "optional": true, "when": { "minGpuMemoryGb": 24 } }],
      "fallback": "cpu-worker"
    },
    "cpu-worker": { "gpu": "none", "models": ["tiny"] }
  }
}
`;

function file(text: string): string {
  const path = join(temporaryFolder(), "catalog.json");
  writeFileSync(path, text);
  return path;
}

const read = (text: string) => readCatalog(file(text), null);

/** The problems of a catalog, each as `line: field: …`. */
async function problems(text: string, overlay?: string): Promise<string[]> {
  const paths = [file(text), ...(overlay ? [file(overlay)] : [])];
  const error = await readCatalog(paths[0]!, paths[1] ?? null).then(
    () => {
      throw new Error("the catalog was taken");
    },
    (cause: MusterError) => cause,
  );
  expect(error).toMatchObject({ name: "MusterError", code: "CATALOG_INVALID", exitCode: 78 });
  const found = error.details.problems as string[];
  expect(error.message).toBe(`The catalog is not valid:\n${found.map((line) => `  ${line}`).join("\n")}`);
  const named = paths.at(-1)!;
  for (const line of found) expect(line).toMatch(named);
  return found.map((line) => line.replace(`${named}:`, ""));
}

describe("the small example", () => {
  it("has what it says", async () => {
    const catalog = await read(EXAMPLE);
    const type = findWorkerType(catalog, "gpu-worker");
    expect(type).toMatchObject({ id: "gpu-worker", gpu: "required", minGpuMemoryGb: 8, fallback: "cpu-worker" });
    expect(type.models).toEqual([
      { model: catalog.models.get("tiny"), optional: false, when: {}, context: null, slots: null },
      { model: catalog.models.get("seer"), optional: true, when: { minGpuMemoryGb: 24 }, context: null, slots: null },
    ]);
    expect([...catalog.models.keys()]).toEqual(["tiny", "seer"]);
  });

  it("and defaults for the rest", async () => {
    const { models, workerTypes } = await read(EXAMPLE);
    expect(workerTypes.get("cpu-worker")).toMatchObject({
      minGpuMemoryGb: 0,
      fallback: null,
      slots: {},
      engineSettings: {},
    });
    expect(models.get("tiny")).toEqual({
      ...{ id: "tiny", task: "chat", license: null, gated: false, contextLength: null, prompts: {} },
      variants: [
        {
          id: "huggingface:acme/tiny",
          ...{ source: "huggingface", location: "acme/tiny", revision: "main", format: "safetensors", engine: "vllm" },
          ...{ quantization: null, minGpuMemoryGb: 0, gpuCount: 1, include: [], exclude: [], allowPickle: false },
          ...{ sizeBytes: null, architecture: null, adapters: [] },
        },
      ],
    });
    expect(models.get("seer")?.variants[0]).toMatchObject({
      ...{ id: "ollama:llava:7b", location: "llava:7b", format: "gguf", minGpuMemoryGb: 6 },
    });
  });
});

it("each source has its own place for the location, and variants that look alike get ids of their own", async () => {
  const variants = [
    { source: "huggingface", repo: "acme/tiny", engine: "vllm" },
    { source: "huggingface", repo: "acme/tiny", engine: "openai" },
    { source: "huggingface", repo: "acme/tiny", engine: "vllm", revision: "v2" },
    { source: "s3", url: "s3://bucket/tiny", engine: "vllm" },
    { source: "path", path: "/data/tiny", engine: "vllm", format: "pickle", sizeBytes: 7 },
    { id: "mine", source: "ollama", name: "tiny:1b", engine: "ollama" },
  ];
  const catalog = await read(
    JSON.stringify({ models: { tiny: { task: "chat", sizeBytes: 5, variants } }, workerTypes: {} }),
  );
  expect(catalog.models.get("tiny")?.variants.map(({ id, location, sizeBytes }) => [id, location, sizeBytes])).toEqual([
    ["huggingface:acme/tiny", "acme/tiny", 5],
    ["huggingface:acme/tiny#2", "acme/tiny", 5],
    ["huggingface:acme/tiny@v2", "acme/tiny", 5],
    ["s3:s3://bucket/tiny", "s3://bucket/tiny", 5],
    ["path:/data/tiny", "/data/tiny", 7],
    ["mine", "tiny:1b", 5],
  ]);
});

it("a model may bring its own words for ocr, by format", async () => {
  const entry = (prompts: object) =>
    JSON.stringify({
      models: { see: { task: "ocr", prompts, variants: [{ source: "ollama", name: "see", engine: "ollama" }] } },
      workerTypes: {},
    });
  const catalog = await read(entry({ text: "Free OCR." }));
  expect(catalog.models.get("see")?.prompts).toEqual({ text: "Free OCR." });
  await expect(read(entry({ html: "x" }))).rejects.toMatchObject({ code: "CATALOG_INVALID" });
});

describe("LoRA adapters", () => {
  const withAdapters = (adapters: object[], variant: object = {}, others: object = {}) =>
    JSON.stringify({
      models: {
        tiny: {
          task: "chat",
          variants: [{ source: "huggingface", repo: "acme/tiny", engine: "vllm", adapters, ...variant }],
        },
        ...others,
      },
      workerTypes: {},
    });
  const sql = { name: "sql", source: "huggingface", repo: "acme/sql", revision: "v2", sizeBytes: 7 };

  it("are variants of their own, for their model's engine, without what training left", async () => {
    const here = { name: "here", source: "path", path: "/adapters/here", format: "gguf", include: ["*.gguf"] };
    const catalog = await read(withAdapters([sql, here]));
    const [variant] = catalog.models.get("tiny")!.variants;
    expect(variant?.adapters).toMatchObject([
      {
        id: "sql",
        variant: {
          ...{ id: "huggingface:acme/sql@v2", source: "huggingface", location: "acme/sql", revision: "v2" },
          ...{ engine: "vllm", format: "safetensors", sizeBytes: 7, exclude: ["checkpoint-*/**"], adapters: [] },
        },
      },
      { id: "here", variant: { location: "/adapters/here", format: "gguf", include: ["*.gguf"], exclude: [] } },
    ]);
  });

  it.each<[string, string, string]>([
    ["without a place", withAdapters([{ ...sql, repo: undefined }]), "adapters[0].repo: found nothing"],
    ["from Ollama's registry", withAdapters([{ ...sql, source: "ollama" }]), "adapters[0].source"],
    ["for an engine that takes none", withAdapters([sql], { engine: "openai" }), "adapters with engine vllm or ollama"],
    ["twice", withAdapters([sql, sql]), 'adapters[1].name: found "sql"; allowed: a name that no other'],
    ["called like their model", withAdapters([{ ...sql, name: "tiny" }]), 'adapters[0].name: found "tiny"'],
    [
      "of two models",
      withAdapters(
        [sql],
        {},
        { b: { task: "chat", variants: [{ source: "path", path: "/b", engine: "vllm", adapters: [sql] }] } },
      ),
      "models.tiny.variants[0].adapters[0].name",
    ],
  ])("%s are refused", async (_what, text, problem) => {
    await expect(read(text)).rejects.toMatchObject({
      code: "CATALOG_INVALID",
      message: expect.stringContaining(problem),
    });
  });

  it("of one name may stand in several variants of a model", async () => {
    const variants = ["acme/a", "acme/b"].map((repo) => ({
      source: "huggingface",
      repo,
      engine: "vllm",
      adapters: [sql],
    }));
    const catalog = await read(JSON.stringify({ models: { tiny: { task: "chat", variants } }, workerTypes: {} }));
    expect(catalog.models.get("tiny")?.variants.map(({ adapters }) => adapters.map(({ id }) => id))).toEqual([
      ["sql"],
      ["sql"],
    ]);
  });
});

describe("a catalog that is not valid names line, field, what was found and what is allowed", () => {
  it.each<[string, [find: string, put: string], string[]]>([
    ["bad JSON", ['"seer": {', '"seer": {,'], ["7: not JSON (ValueExpected)"]],
    ["a comment", ['"seer": {', '"seer": { // sees'], ["7: not JSON (InvalidCommentToken)"]],
    [
      "an unknown field",
      ['"gpu": "none"', '"gpu": "none", "gpus": 2'],
      [
        "19: workerTypes.cpu-worker.gpus: found an unknown field; allowed: description, gpu, minGpuMemoryGb, models, fallback, slots, engineSettings",
      ],
    ],
    [
      "a wrong word",
      ['"gpu": "none"', '"gpu": "maybe"'],
      ['19: workerTypes.cpu-worker.gpu: found "maybe"; allowed: one of required, preferred, none'],
    ],
    [
      "a wrong source",
      ['"source": "ollama"', '"source": "docker"'],
      ['9: models.seer.variants[0].source: found "docker"; allowed: one of huggingface, ollama, s3, path'],
    ],
    [
      "a wrong type",
      ['"minGpuMemoryGb": 8', '"minGpuMemoryGb": "8 GB"'],
      ['15: workerTypes.gpu-worker.minGpuMemoryGb: found "8 GB"; allowed: a number'],
    ],
    [
      "a list that is none",
      ['["tiny"] }', '"tiny" }'],
      ['19: workerTypes.cpu-worker.models: found "tiny"; allowed: an array'],
    ],
    [
      "a field missing",
      ['"task": "vision",', ""],
      ["7: models.seer.task: found nothing; allowed: one of chat, completion, vision, ocr, embedding, rerank"],
    ],
    [
      "a number below its range",
      ['"engine": "vllm"', '"engine": "vllm", "gpuCount": 0'],
      ["5: models.tiny.variants[0].gpuCount: found 0; allowed: more than 0"],
    ],
    [
      "a number above its range",
      ['"engine": "vllm"', '"engine": "vllm", "gpuCount": 65'],
      ["5: models.tiny.variants[0].gpuCount: found 65; allowed: at most 64"],
    ],
    [
      "no variants",
      ['[{ "source": "huggingface", "repo": "acme/tiny", "engine": "vllm" }]', "[]"],
      ["5: models.tiny.variants: found []; allowed: at least 1 of them"],
    ],
    [
      "no repository",
      ['"repo": "acme/tiny", ', ""],
      ["5: models.tiny.variants[0].repo: found nothing; allowed: a repo, because source is huggingface"],
    ],
    [
      "a repository that is none",
      ["acme/tiny", "https://huggingface.co/acme/tiny"],
      ['5: models.tiny.variants[0].repo: found "https://huggingface.co/acme/tiny"; allowed: org/name'],
    ],
    [
      "an s3 URL that is none",
      ['"source": "ollama", "name": "llava:7b"', '"source": "s3", "url": "https://bucket"'],
      ['9: models.seer.variants[0].url: found "https://bucket"; allowed: s3://bucket/prefix'],
    ],
    [
      "a name that is none",
      ['"cpu-worker": {', '"cpu worker": {'],
      [
        '19: workerTypes.cpu worker: found "cpu worker"; allowed: letters, digits, dots, colons, dashes and underscores',
      ],
    ],
    [
      "a model reference that is none",
      ['"models": ["tiny"]', '"models": [7]'],
      ["19: workerTypes.cpu-worker.models[0]: found 7; allowed: the id of a model, or an object with `model`"],
    ],
    [
      "a field within a model reference",
      ['{ "minGpuMemoryGb": 24 }', '{ "minGpuMemory": 24 }'],
      [
        "16: workerTypes.gpu-worker.models[1].when.minGpuMemory: found an unknown field; allowed: minGpuMemoryGb, maxGpuMemoryGb, minTotalGpuMemoryGb, maxTotalGpuMemoryGb, minGpuCount, minMemoryGb, gpu",
      ],
    ],
    [
      "a model that is not there",
      ['"models": ["tiny"]', '"models": ["tinny"]'],
      ['19: workerTypes.cpu-worker.models[0]: found "tinny"; allowed: a model of the catalog: tiny, seer'],
    ],
    [
      "a model that is not there, in full",
      ['"model": "seer"', '"model": "constructor"'],
      ['16: workerTypes.gpu-worker.models[1].model: found "constructor"; allowed: a model of the catalog: tiny, seer'],
    ],
    [
      "a fallback that is not there",
      ['"fallback": "cpu-worker"', '"fallback": "cpu"'],
      [
        '17: workerTypes.gpu-worker.fallback: found "cpu"; allowed: a worker type of the catalog: gpu-worker, cpu-worker',
      ],
    ],
    [
      "fallbacks in a circle",
      ['"gpu": "none"', '"gpu": "none", "fallback": "gpu-worker"'],
      [
        '17: workerTypes.gpu-worker.fallback: found "gpu-worker → cpu-worker → gpu-worker"; allowed: a chain of fallbacks that ends',
        '19: workerTypes.cpu-worker.fallback: found "cpu-worker → gpu-worker → cpu-worker"; allowed: a chain of fallbacks that ends',
      ],
    ],
  ])("%s", async (_what, [find, put], expected) => {
    expect(EXAMPLE).toContain(find);
    expect(await problems(EXAMPLE.replace(find, put))).toEqual(expected);
  });

  it("all at once", async () => {
    const text = EXAMPLE.replace('"chat"', '"chatter"').replace('"none"', '"no"').replace('"required"', "true");
    expect((await problems(text)).map((line) => line.split(":", 2).join(":"))).toEqual([
      "4: models.tiny.task",
      "14: workerTypes.gpu-worker.gpu",
      "19: workerTypes.cpu-worker.gpu",
    ]);
  });

  it.each([
    ["", "1: not JSON (ValueExpected)"],
    ["[]", "1: the file: found []; allowed: an object"],
    ["\uFEFF{\n,}", "2: not JSON (ValueExpected)"],
  ])("%j", async (text, expected) => {
    expect(await problems(text)).toEqual([expected]);
  });

  it("a file that is not there", async () => {
    await expect(readCatalog("/nowhere/catalog.json", null)).rejects.toMatchObject({
      code: "CATALOG_INVALID",
      message: "The catalog /nowhere/catalog.json cannot be read (ENOENT).",
      hint: expect.stringContaining("WORKER_TYPES_FILE"),
    });
  });
});

it("a byte order mark is no error", async () => {
  expect((await read(`\uFEFF${EXAMPLE}`)).models.size).toBe(2);
});

describe("an overlay", () => {
  const overlaid = (overlay: unknown) => readCatalog(file(EXAMPLE), file(JSON.stringify(overlay)));
  const ours = { task: "embedding", variants: [{ source: "path", path: "/data/ours", engine: "openai" }] };

  it("adds and overrides whole entries", async () => {
    const catalog = await overlaid({
      models: { ours, seer: { ...ours, task: "ocr" } },
      workerTypes: { "cpu-worker": { gpu: "none", models: ["ours"] }, mine: { gpu: "none", models: ["tiny", "ours"] } },
    });
    expect([...catalog.models].map(([id, { task }]) => [id, task])).toEqual([
      ["tiny", "chat"],
      ["seer", "ocr"],
      ["ours", "embedding"],
    ]);
    expect([...catalog.workerTypes.keys()]).toEqual(["gpu-worker", "cpu-worker", "mine"]);
    // What the base refers to is what the overlay made of it.
    expect(findWorkerType(catalog, "gpu-worker").models[1]?.model.task).toBe("ocr");
    expect(findWorkerType(catalog, "cpu-worker").models.map(({ model }) => model.id)).toEqual(["ours"]);
  });

  it("may leave either part out", async () => {
    expect((await overlaid({ models: { ours } })).models.size).toBe(3);
    expect((await overlaid({})).models.size).toBe(2);
  });

  it("is named where the problem is its own", async () => {
    expect(await problems(EXAMPLE, '{\n"workerTypes": { "mine": { "gpu": "none", "models": ["no"] } } }')).toEqual([
      '2: workerTypes.mine.models[0]: found "no"; allowed: a model of the catalog: tiny, seer',
    ]);
    expect(await problems(EXAMPLE, '{ "model": {} }')).toEqual([
      "1: model: found an unknown field; allowed: $schema, models, workerTypes",
    ]);
  });
});

describe("a worker type", () => {
  it("that is not set, or not there, is answered with those that are", async () => {
    const catalog = await read(EXAMPLE);
    const hint = "Set WORKER_TYPE to one of: gpu-worker, cpu-worker.";
    const failure = (id: string | null) => {
      try {
        return findWorkerType(catalog, id);
      } catch (error) {
        return error;
      }
    };
    expect(failure(null)).toMatchObject({ code: "WORKER_TYPE_MISSING", hint });
    expect(failure("gpu")).toMatchObject({
      code: "WORKER_TYPE_UNKNOWN",
      hint,
      message: expect.stringMatching('"gpu"'),
    });
  });
});

it("the built-in catalog is valid and has every worker type and model of the design", async () => {
  const { models, workerTypes } = await readCatalog(join(import.meta.dirname, "../../worker-types.json"), null);
  expect([...workerTypes.keys()]).toEqual(
    "gpu-worker ocr embedding vllm cpu-worker all llm-infrastructure inference-server".split(" "),
  );
  expect([...models.keys()].toSorted()).toEqual(
    [
      "mistral-7b-instruct llava-7b llava-next-34b nomic-embed-text llama3.2 all-minilm-l6-v2 opt-125m gemma-2b",
      "llama-3.1-8b-instruct qwen2.5-coder-7b-instruct qwen2.5-72b-instruct-awq deepseek-r1-distill-llama-8b bge-m3",
      "bge-reranker-v2-m3 llama2-7b phi-2 llama2-13b codellama-13b llama2-70b qwen-7b",
    ]
      .join(" ")
      .split(" ")
      .toSorted(),
  );
  // Nothing in it that no worker type uses, and `all` is all.
  expect(
    workerTypes
      .get("all")
      ?.models.map(({ model }) => model.id)
      .toSorted(),
  ).toEqual([...models.keys()].toSorted());
  // Selection without a network goes by the catalog alone.
  for (const { id, variants } of models.values()) {
    for (const { sizeBytes, engine, architecture } of variants) {
      expect(sizeBytes, id).toBeGreaterThan(0);
      if (engine === "vllm") expect(architecture, id).not.toBeNull();
    }
  }
});
