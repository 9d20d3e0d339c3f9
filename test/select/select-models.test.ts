import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MusterError } from "../../src/errors.ts";
import { GIB, memoryNeed, VLLM_SHARE } from "../../src/select/fit.ts";
import { readCatalog } from "../../src/select/worker-types.ts";
import { choose, chosen, gpu, machine, model, type Question, SHAPE, variant, wants, workerType } from "./machine.ts";

function refusal(question: Question): MusterError {
  try {
    const selection = choose(question);
    throw new Error(`chose ${chosen(selection)}`);
  } catch (error) {
    expect(error).toBeInstanceOf(MusterError);
    return error as MusterError;
  }
}

/** Needs 2.5 GiB beside weights and KV cache, and 1 GiB of KV cache for 8192 tokens. */
const fp16 = variant("fp16", 13.5);
const gptq = variant("gptq", 4);
const chat = model("chat", [fp16, gptq]);
const cpuType = workerType([wants(model("small", [variant("q4", 2, { engine: "ollama", source: "ollama" })]))], {
  id: "cpu-worker",
  gpu: "none",
});

describe("one model on one card", () => {
  const type = workerType([wants(chat)]);
  it.each([
    [24, "chat fp16 8192 on 0"],
    [19, "chat fp16 8192 on 0"],
    [18.5, "chat fp16 4096 on 0"],
    [18.1, "chat fp16 2048 on 0"],
    [16, "chat gptq 8192 on 0"],
    [12, "chat gptq 8192 on 0"],
    [8, "chat gptq 4096 on 0"],
    [7.5, "chat gptq 2048 on 0"],
  ])("of %f GiB", (memory, expected) => {
    expect(chosen(choose({ workerType: type, hardware: machine([gpu(memory)]) }))).toEqual([expected]);
  });

  it("says why: what it needs, what there is, and that the context was cut", () => {
    const { models } = choose({ workerType: type, hardware: machine([gpu(8)]) });
    expect(models[0]?.reason).toBe("needs 7.0 GiB of 7.2 GiB on GPU 0 with the context cut from 8192 to 4096 tokens");
  });

  it("that does not fit is refused with need, have and the largest context", () => {
    const error = refusal({ workerType: type, hardware: machine([gpu(7.3)]) });
    expect(error.code).toBe("NOTHING_FITS");
    expect(error.message.split("\n")).toEqual([
      "The models of worker type chat do not fit this machine:",
      "  chat as fp16: needs 17.0 GiB, GPU 0 has 6.6 GiB",
      "  chat as gptq: needs 7.5 GiB, GPU 0 has 6.6 GiB (the largest context that fits is 512 tokens)",
    ]);
    expect(error.details.refused).toMatchObject([
      {
        model: "chat",
        variant: "fp16",
        needBytes: 17 * GIB,
        haveBytes: Math.floor(0.9 * 7.3 * GIB),
        largestContext: 0,
      },
      { model: "chat", variant: "gptq", needBytes: 7.5 * GIB, largestContext: 512 },
    ]);
  });

  it("the context asked for is kept where it fits, and never above what the model takes", () => {
    const long = (context: number, contextLength: number) =>
      chosen(
        choose({
          workerType: workerType([wants(model("chat", [gptq], { contextLength }), { context })]),
          hardware: machine([gpu(12)]),
        }),
      );
    expect(long(32_768, 32_768)).toEqual(["chat gptq 32768 on 0"]);
    expect(long(32_768, 16_384)).toEqual(["chat gptq 16384 on 0"]);
    expect(long(1024, 16_384)).toEqual(["chat gptq 1024 on 0"]);
  });

  it("what the source says of size and shape wins over the catalog", () => {
    const facts = () => ({ weightsBytes: 1 * GIB, projectorBytes: GIB, architecture: { ...SHAPE, kvHeads: 32 } });
    const { models } = choose({ workerType: type, hardware: machine([gpu(24)]), facts });
    expect(models[0]?.reason).toMatch("needs 8.5 GiB");
  });

  it("a shape that only the catalog declares counts, with its context and its type", () => {
    const declared = model("chat", [gptq], { contextLength: null });
    expect(chosen(choose({ workerType: workerType([wants(declared)]), hardware: machine([gpu(8)]) }))).toEqual([
      "chat gptq 4096 on 0",
    ]);
    const bf16 = model("chat", [variant("bf16", 4, { architecture: { ...SHAPE, dtype: "bfloat16" } }), gptq]);
    const old = machine([gpu(24, { computeCapability: "7.5" })]);
    const selection = choose({ workerType: workerType([wants(bf16)]), hardware: old });
    expect(chosen(selection)).toEqual(["chat gptq 8192 on 0"]);
    expect(selection.refused).toMatchObject([{ variant: "bf16", reason: expect.stringMatching("compute capability") }]);
  });

  it("a declared minimum is a floor, whatever the estimate", () => {
    const careful = model("chat", [variant("big", 1, { minGpuMemoryGb: 24 }), gptq]);
    const selection = choose({ workerType: workerType([wants(careful)]), hardware: machine([gpu(16)]) });
    expect(chosen(selection)).toEqual(["chat gptq 8192 on 0"]);
    expect(selection.refused[0]?.reason).toBe("declares 24 GB of GPU memory, GPU 0 has 17.2 GB");
  });

  it("of unknown size is taken as declared", () => {
    const unknown = model("chat", [variant("unknown", null)]);
    const { models } = choose({ workerType: workerType([wants(unknown)]), hardware: machine([gpu(4)]) });
    expect(models[0]?.reason).toMatch("its size is not known beforehand");
  });

  it("Ollama takes what it needs of the whole card", () => {
    const gguf = variant("q4", 4, { engine: "ollama", source: "ollama" });
    const question = (memory: number) => ({
      workerType: workerType([wants(model("chat", [gguf]))]),
      hardware: machine([gpu(memory)]),
    });
    expect(chosen(choose(question(6)))).toEqual(["chat q4 8192 on 0"]);
    expect(chosen(choose(question(5.9)))).toEqual(["chat q4 4096 on 0"]);
  });
});

describe("several models", () => {
  const second = model("second", [variant("second", 3)]);
  const both = workerType([wants(chat), wants(second)]);

  it("fit together on one card, an earlier one giving way to let a later one in", () => {
    // 17 + 6.5 GiB need 26.2 GiB; 7.5 + 6.5 GiB need 15.6 GiB.
    expect(chosen(choose({ workerType: both, hardware: machine([gpu(27)]) }))).toEqual([
      "chat fp16 8192 on 0",
      "second second 8192 on 0",
    ]);
    expect(chosen(choose({ workerType: both, hardware: machine([gpu(24)]) }))).toEqual([
      "chat gptq 8192 on 0",
      "second second 8192 on 0",
    ]);
  });

  it("go to the card with most left", () => {
    expect(chosen(choose({ workerType: both, hardware: machine([gpu(12), gpu(24)]) }))).toEqual([
      "chat fp16 8192 on 1",
      "second second 8192 on 0",
    ]);
  });

  it("the one that cannot be had is named, and a variant that was taken is not among the refused", () => {
    const later = model("later", [variant("large", 10), variant("small", 3)]);
    const selection = choose({ workerType: workerType([wants(chat), wants(later)]), hardware: machine([gpu(24)]) });
    expect(chosen(selection)).toEqual(["chat gptq 8192 on 0", "later large 8192 on 0"]);
    expect(selection.refused.map(({ variant: id }) => id)).toEqual(["small", "fp16"]);
    expect(selection.refused[1]?.reason).toBe("would leave no room for the other models");
    const impossible = model("impossible", [variant("huge", 100)]);
    const { notices } = choose({
      workerType: workerType([wants(chat), wants(impossible)], { fallback: "cpu-worker" }),
      others: [cpuType],
      hardware: machine([gpu(12)]),
    });
    expect(notices).toEqual(["Worker type chat cannot run here (impossible does not fit); falling back to cpu-worker"]);
  });

  it("an optional one is left out, and that is said", () => {
    const type = workerType([wants(second, { optional: true }), wants(chat)]);
    const selection = choose({ workerType: type, hardware: machine([gpu(12)]) });
    expect(chosen(selection)).toEqual(["chat gptq 8192 on 0"]);
    expect(selection.notices).toEqual([expect.stringMatching(/^Optional model second is left out: needs 6\.5 GiB/)]);
    expect(selection.models[0]?.required).toBe(true);
    const roomy = choose({ workerType: type, hardware: machine([gpu(27)]) });
    expect(roomy.models.map(({ id, required }) => [id, required])).toEqual([
      ["chat", true],
      ["second", false],
    ]);
    expect(roomy.notices).toEqual([]);
  });

  it("an optional one is let in by a smaller variant of another, before it is left out", () => {
    const type = workerType([wants(second, { optional: true }), wants(chat)]);
    const selection = choose({ workerType: type, hardware: machine([gpu(20)]) });
    expect(chosen(selection)).toEqual(["chat gptq 8192 on 0", "second second 8192 on 0"]);
    expect(selection.notices).toEqual([]);
  });

  it("a catalog of very many variants ends soon, with fewer models", () => {
    const many = Array.from({ length: 12 }, (_, index) =>
      model(`m${index}`, [variant("a", 1), variant("b", 1), variant("c", 1)]),
    );
    const type = workerType(many.map((each) => wants(each, { optional: true })));
    const selection = choose({ workerType: type, hardware: machine([gpu(24)]) });
    expect(selection.models.length).toBeGreaterThan(3);
    expect(selection.models.length + selection.notices.length).toBe(12);
  });

  it("Ollama shares what an engine that keeps its memory left", () => {
    const gguf = model("gguf", [variant("q4", 4, { engine: "ollama", source: "ollama" })], { contextLength: 4096 });
    const type = workerType([wants(model("chat", [gptq])), wants(gguf)]);
    // 0.8 of (15 - 7.5) GiB are 6 GiB; it needs 5.5.
    expect(chosen(choose({ workerType: type, hardware: machine([gpu(15)]) }))).toHaveLength(2);
    expect(refusal({ workerType: type, hardware: machine([gpu(14)]) }).message).toMatch(
      "gguf as q4: needs 5.5 GiB, GPU 0 has 5.2 GiB",
    );
  });
});

describe("several GPUs", () => {
  const split = variant("tp2", 30, { gpuCount: 2 });
  const type = workerType([wants(model("large", [split]))]);
  it.each<[string, Question["hardware"], string]>([
    ["share a model", machine([gpu(24), gpu(24)]), "large tp2 8192 on 0+1"],
    ["of which the two largest are taken", machine([gpu(8), gpu(24), gpu(24)]), "large tp2 8192 on 1+2"],
    ["of which the smaller one limits", machine([gpu(24), gpu(20)]), "large tp2 2048 on 0+1"],
    ["beside MIG devices", machine([gpu(40, { mig: true }), gpu(24), gpu(24)]), "large tp2 8192 on 1+2"],
  ])("%s", (_what, hardware, expected) => {
    expect(chosen(choose({ workerType: type, hardware }))).toEqual([expected]);
  });

  it.each<[string, Question["hardware"], RegExp]>([
    ["one GPU", machine([gpu(80)]), /needs 2 GPUs, 1 is usable/],
    ["MIG devices", machine([gpu(40, { mig: true }), gpu(40, { mig: true })]), /gets one MIG device only/],
    ["two that are too small", machine([gpu(16), gpu(16)]), /needs 18\.\d GiB, GPU 0 and GPU 1 has 14\.4 GiB/],
  ])("%s cannot", (_what, hardware, reason) => {
    expect(refusal({ workerType: type, hardware }).message).toMatch(reason);
  });

  it("heads that do not divide are not split", () => {
    const odd = variant("tp3", 3, { gpuCount: 3 });
    const hardware = machine([gpu(24), gpu(24), gpu(24)]);
    expect(refusal({ workerType: workerType([wants(model("m", [odd]))]), hardware }).message).toMatch(
      "32 attention heads do not divide by 3 GPUs",
    );
  });

  it("one that cannot run the type is passed over for one that can, however large it is", () => {
    const bf16 = model("chat", [variant("bf16", 13.5, { architecture: { ...SHAPE, dtype: "bfloat16" } })]);
    const hardware = machine([gpu(32, { computeCapability: "7.0" }), gpu(24)]);
    expect(chosen(choose({ workerType: workerType([wants(bf16)]), hardware }))).toEqual(["chat bf16 8192 on 1"]);
  });
});

it("a GPU whose memory is unknown is never taken for none", () => {
  const type = workerType([wants(chat)], { minGpuMemoryGb: 8 });
  const { models } = choose({ workerType: type, hardware: machine([gpu(null)]) });
  expect(models[0]).toMatchObject({ variant: { id: "fp16" }, gpus: [0], reason: expect.stringMatching("unknown") });
});

describe("without a usable GPU", () => {
  const none = machine([]);
  const required = workerType([wants(chat)], { fallback: "cpu-worker" });

  it("the fallback is taken, and said aloud", () => {
    const selection = choose({ workerType: required, others: [cpuType], hardware: none });
    expect(selection.workerType.id).toBe("cpu-worker");
    expect(chosen(selection)).toEqual(["small q4 8192 on the CPU"]);
    expect(selection.notices).toEqual([
      "Worker type chat cannot run here (no GPU was found); falling back to cpu-worker",
    ]);
  });

  it("what the driver said goes along", () => {
    const hardware = { ...none, warnings: ["nvidia-smi: driver mismatch"] };
    const { notices } = choose({ workerType: required, others: [cpuType], hardware });
    expect(notices[0]).toMatch("no GPU was found; nvidia-smi: driver mismatch");
  });

  it("and without a fallback, it is refused", () => {
    const error = refusal({ workerType: workerType([wants(chat)]), hardware: none });
    expect(error).toMatchObject({ code: "GPU_REQUIRED", exitCode: 78, hint: expect.stringMatching("--gpus all") });
  });

  it.each<[string, Partial<Question>, RegExp]>([
    ["ENABLE_GPU=false", { enableGpu: "false", hardware: machine([gpu(24)]) }, /ENABLE_GPU is false/],
    [
      "MIN_GPU_MEMORY_GB",
      { minGpuMemoryGb: 30, hardware: machine([gpu(24), gpu(8)]) },
      /the largest GPU has 25\.8 GB, 30 GB are the least/,
    ],
  ])("%s hides GPUs", (_what, change, reason) => {
    const { notices } = choose({ workerType: required, others: [cpuType], hardware: none, ...change });
    expect(notices[0]).toMatch(reason);
  });

  it("MIN_GPU_MEMORY_GB replaces the worker type's floor, up and down", () => {
    const type = workerType([wants(chat)], { minGpuMemoryGb: 30 });
    const hardware = machine([gpu(24)]);
    expect(refusal({ workerType: type, hardware }).code).toBe("GPU_REQUIRED");
    expect(chosen(choose({ workerType: type, hardware, minGpuMemoryGb: 8 }))).toEqual(["chat fp16 8192 on 0"]);
  });

  describe("ENABLE_GPU=true", () => {
    const question = { others: [cpuType], hardware: none, enableGpu: "true" as const };
    it("refuses, with a fallback too", () => {
      expect(refusal({ ...question, workerType: required }).code).toBe("GPU_REQUIRED");
      const preferred = workerType([wants(chat)], { gpu: "preferred", fallback: "cpu-worker" });
      expect(refusal({ ...question, workerType: preferred }).code).toBe("GPU_REQUIRED");
    });
    it("refuses to leave a GPU on which nothing fits", () => {
      expect(refusal({ ...question, workerType: required, hardware: machine([gpu(4)]) }).code).toBe("NOTHING_FITS");
    });
    it("may still fall back to another type with a GPU, and a type without one may be asked for", () => {
      const smaller = workerType([wants(model("chat", [gptq]))], { id: "smaller" });
      const larger = workerType([wants(model("chat", [fp16]))], { fallback: "smaller" });
      const selection = choose({ ...question, workerType: larger, others: [smaller], hardware: machine([gpu(12)]) });
      expect(selection.workerType.id).toBe("smaller");
      expect(chosen(choose({ ...question, workerType: cpuType }))).toEqual(["small q4 8192 on the CPU"]);
    });
  });
});

describe("on the CPU", () => {
  const preferred = (declared: number) =>
    workerType([wants(model("chat", [variant("any", 4, { minGpuMemoryGb: declared })]))], { gpu: "preferred" });

  it("a model takes up to 0.9 of the memory, whatever its engine", () => {
    expect(chosen(choose({ workerType: preferred(0), hardware: machine([], 8) }))).toEqual([
      "chat any 8192 on the CPU",
    ]);
    // 4 + 1 + 1 GiB are more than 0.9 of 6.
    expect(chosen(choose({ workerType: preferred(0), hardware: machine([], 6) }))).toEqual([
      "chat any 2048 on the CPU",
    ]);
    expect(refusal({ workerType: preferred(0), hardware: machine([], 5) }).message).toMatch(
      "needs 6.0 GiB, main memory has 4.5 GiB",
    );
  });

  it("what declares GPU memory or several GPUs is not tried", () => {
    expect(refusal({ workerType: preferred(8), hardware: machine([]) }).message).toMatch("needs a GPU with 8 GB");
    const split = workerType([wants(model("m", [variant("tp2", 1, { gpuCount: 2 })]))], { gpu: "preferred" });
    expect(refusal({ workerType: split, hardware: machine([]) }).message).toMatch("needs 2 GPUs, none is used");
  });
});

describe("a condition holds or leaves the model out", () => {
  const twoCards = machine([gpu(24), gpu(8)], 64);
  it.each([
    [{}, true],
    [{ minGpuMemoryGb: 25 }, true],
    [{ minGpuMemoryGb: 26 }, false],
    [{ maxGpuMemoryGb: 26 }, true],
    [{ maxGpuMemoryGb: 25 }, false],
    [{ minTotalGpuMemoryGb: 34 }, true],
    [{ minTotalGpuMemoryGb: 35 }, false],
    [{ maxTotalGpuMemoryGb: 35 }, true],
    [{ maxTotalGpuMemoryGb: 34 }, false],
    [{ minGpuCount: 2 }, true],
    [{ minGpuCount: 3 }, false],
    [{ minMemoryGb: 68 }, true],
    [{ minMemoryGb: 69 }, false],
    [{ gpu: true }, true],
    [{ gpu: false }, false],
    [{ gpu: true, minGpuCount: 3 }, false],
  ])("%o: %s", (when, expected) => {
    const type = workerType([wants(model("tiny", [variant("tiny", 0.1)]), { when })]);
    expect(choose({ workerType: type, hardware: twoCards }).models).toHaveLength(expected ? 1 : 0);
  });

  it("counts usable GPUs only", () => {
    const type = workerType([wants(model("tiny", [variant("tiny", 0.1)]), { when: { minGpuCount: 2 } })]);
    expect(choose({ workerType: type, hardware: twoCards, minGpuMemoryGb: 16 }).models).toEqual([]);
  });
});

describe("the built-in catalog", async () => {
  const catalog = await readCatalog(join(import.meta.dirname, "../../worker-types.json"), null);
  const builtIn = (id: string) => catalog.workerTypes.get(id)!;
  it.each([
    [24, "mistral-7b-instruct fp16 8192 on 0"],
    [16, "mistral-7b-instruct gptq 8192 on 0"],
    [12, "mistral-7b-instruct gptq 8192 on 0"],
    [8, "mistral-7b-instruct gptq 4096 on 0"],
  ])("gpu-worker on a card of %i GB", (memory, mistral) => {
    const selection = choose({ workerType: builtIn("gpu-worker"), hardware: machine([gpu(memory)]) });
    expect(chosen(selection)[0]).toBe(mistral);
  });

  it("gpu-worker without a GPU runs as cpu-worker", () => {
    const question = { workerType: builtIn("gpu-worker"), others: [builtIn("cpu-worker")], hardware: machine([], 8) };
    expect(choose(question).workerType.id).toBe("cpu-worker");
  });

  it.each<[string, number[]]>([
    ["gpu-worker", [24]],
    ["ocr", [8]],
    ["embedding", []],
    ["vllm", [24]],
    ["cpu-worker", []],
    ["all", []],
    ["all", [80, 80]],
    ["llm-infrastructure", [24]],
    ["llm-infrastructure", [80, 80]],
    ["inference-server", [32]],
    ["inference-server", [48, 48]],
    ["inference-server", [96]],
  ])("%s finds models on %j GiB of GPU", (id, cards) => {
    const selection = choose({ workerType: builtIn(id), hardware: machine(cards.map((memory) => gpu(memory))) });
    expect(selection.workerType.id).toBe(id);
    expect(selection.models.length).toBeGreaterThan(0);
  });
});

it("whatever is chosen, vLLM's needs stay within its share of each GPU, and every required model is there once", () => {
  const variants = fc
    .array(
      fc.record({
        weights: fc.double({ min: 0.1, max: 60, noNaN: true }),
        gpuCount: fc.constantFrom(1, 1, 1, 2, 4),
        engine: fc.constantFrom("vllm" as const, "vllm" as const, "ollama" as const, "openai" as const),
        kvHeads: fc.constantFrom(1, 8, 32),
      }),
      { minLength: 1, maxLength: 3 },
    )
    .map((entries) =>
      entries.map(({ weights, gpuCount, engine, kvHeads }, index) =>
        variant(`v${index}`, weights, { gpuCount, engine, architecture: { ...SHAPE, kvHeads } }),
      ),
    );
  const references = fc.array(
    fc.record({ variants, optional: fc.boolean(), context: fc.option(fc.integer({ min: 1, max: 131_072 })) }),
    { minLength: 1, maxLength: 4 },
  );
  const cards = fc.array(fc.tuple(fc.integer({ min: 4, max: 96 }), fc.boolean()), { minLength: 1, maxLength: 4 });
  let selections = 0;
  fc.assert(
    fc.property(references, cards, (wanted, memories) => {
      const models = wanted.map(({ variants, ...rest }, index) => wants(model(`m${index}`, variants), rest));
      const hardware = machine(memories.map(([memory, mig]) => gpu(memory, { mig })));
      let selection: ReturnType<typeof choose>;
      try {
        selection = choose({ workerType: workerType(models), hardware });
      } catch (error) {
        expect(error).toMatchObject({ code: "NOTHING_FITS" });
        return;
      }
      selections += 1;
      const used = hardware.gpus.map(() => 0);
      for (const { variant: taken, context, gpus } of selection.models) {
        expect(new Set(gpus).size).toBe(taken.gpuCount);
        if (taken.gpuCount > 1) expect(gpus.some((index) => hardware.gpus[index]?.mig)).toBe(false);
        if (taken.engine !== "vllm") continue;
        const facts = { weightsBytes: taken.sizeBytes!, projectorBytes: 0, architecture: taken.architecture };
        const { total } = memoryNeed({
          engine: "vllm",
          facts,
          context: context!,
          sequences: 1,
          tensorParallel: gpus.length,
        });
        for (const index of gpus) used[index]! += total;
      }
      for (const [index, { memoryTotalMiB }] of hardware.gpus.entries()) {
        expect(used[index]).toBeLessThanOrEqual(VLLM_SHARE * memoryTotalMiB! * 2 ** 20 + 1);
      }
      const ids = selection.models.map(({ id }) => id);
      expect(new Set(ids).size).toBe(ids.length);
      expect(ids).toEqual(
        expect.arrayContaining(models.filter(({ optional }) => !optional).map((each) => each.model.id)),
      );
    }),
    { numRuns: 500 },
  );
  expect(selections).toBeGreaterThan(50);
});
