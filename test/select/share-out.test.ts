import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { choose, gpu, machine, model, variant, wants, workerType } from "./machine.ts";

/** What each chosen model's engine is to take: the part of its GPUs' memory, and the sequences at once. */
function shares(question: Parameters<typeof choose>[0]): Record<string, [number | null, number | null]> {
  const { models } = choose(question);
  return Object.fromEntries(models.map(({ id, share }) => [id, [share.gpuMemory, share.sequences]]));
}

const vllm = (id: string, gib: number) => model(id, [variant(id, gib)]);
const ollama = (id: string, gib: number) => model(id, [variant(id, gib, { engine: "ollama", source: "ollama" })]);

describe("vLLM", () => {
  it("alone on its GPUs may take what vLLM may take altogether", () => {
    const type = workerType([wants(vllm("one", 10))], { slots: { chat: 3, completion: 2, ocr: 9 } });
    expect(shares({ workerType: type, hardware: machine([gpu(24)]) })).toEqual({ one: [0.9, 5] });
    const split = workerType([wants(model("two", [variant("two", 60, { gpuCount: 2 })]))], { slots: { chat: 3 } });
    expect(shares({ workerType: split, hardware: machine([gpu(48), gpu(48)]) })).toEqual({ two: [0.9, 3] });
  });

  it("beside others takes what it needs, of whatever engine they are", () => {
    // 10 + 1 + 2.5 GiB, and 5 + 1 + 2.5 GiB.
    const both = workerType([wants(vllm("large", 10)), wants(vllm("small", 5))]);
    expect(shares({ workerType: both, hardware: machine([gpu(80)]) })).toEqual({
      large: [Math.floor((13.5 / 80) * 10_000) / 10_000, null],
      small: [Math.floor((8.5 / 80) * 10_000) / 10_000, null],
    });
    const mixed = workerType([wants(vllm("large", 10)), wants(ollama("other", 4))]);
    expect(shares({ workerType: mixed, hardware: machine([gpu(24)]) }).large).toEqual([0.5625, null]);
    // Each on a card of its own.
    expect(shares({ workerType: both, hardware: machine([gpu(24), gpu(24)]) })).toEqual({
      large: [0.9, null],
      small: [0.9, null],
    });
  });

  it("shares never add up to more than vLLM may take", () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0.1, max: 30, noNaN: true }), { minLength: 2, maxLength: 5 }), (sizes) => {
        const wanted = sizes.map((size, index) => wants(vllm(`m${index}`, size), { optional: true }));
        const taken = Object.values(shares({ workerType: workerType(wanted), hardware: machine([gpu(80)]) }));
        expect(taken.reduce((sum, [share]) => sum + (share ?? 0), 0)).toBeLessThanOrEqual(0.9);
      }),
    );
  });

  it("on a card whose memory nobody knows is bounded by nothing", () => {
    const both = workerType([wants(vllm("large", 10)), wants(vllm("small", 5))]);
    expect(shares({ workerType: both, hardware: machine([gpu(null)]) })).toEqual({
      large: [null, null],
      small: [null, null],
    });
  });

  it("a model's own slots are the most", () => {
    const type = workerType([wants(vllm("one", 1), { slots: 2 })], { slots: { chat: 8 } });
    expect(shares({ workerType: type, hardware: machine([gpu(24)]) }).one![1]).toBe(2);
    const alone = workerType([wants(vllm("one", 1), { slots: 2 })]);
    expect(shares({ workerType: alone, hardware: machine([gpu(24)]) }).one![1]).toBe(2);
  });
});

describe("Ollama", () => {
  const sequences = (memoryGib: number, models: ReturnType<typeof ollama>[], slots = { chat: 8 }) =>
    shares({
      workerType: workerType(
        models.map((each) => wants(each)),
        { slots },
      ),
      hardware: machine([gpu(memoryGib)]),
    });

  it("does as many jobs at once as there are slots, and memory for", () => {
    // 4 + 1 GiB, and a GiB of KV cache for each sequence.
    expect(sequences(24, [ollama("a", 4)])).toEqual({ a: [null, 8] });
    expect(sequences(10, [ollama("a", 4)])).toEqual({ a: [null, 5] });
    expect(sequences(6, [ollama("a", 4)])).toEqual({ a: [null, 1] });
    expect(sequences(10, [ollama("a", 4)], { chat: 2 })).toEqual({ a: [null, 2] });
  });

  it("has one number for all its models, loaded together or in turns", () => {
    expect(sequences(20, [ollama("a", 4), ollama("b", 4)])).toEqual({ a: [null, 5], b: [null, 5] });
    expect(sequences(9, [ollama("a", 4), ollama("b", 4)])).toEqual({ a: [null, 4], b: [null, 4] });
  });

  it("embeds one after another, and counts no cache for that", () => {
    const embedder = model("e", [variant("e", 1, { engine: "ollama", source: "ollama" })], { task: "embedding" });
    const type = workerType([wants(ollama("a", 4)), wants(embedder)], { slots: { chat: 1, embedding: 16 } });
    expect(shares({ workerType: type, hardware: machine([gpu(24)]) })).toEqual({ a: [null, 1], e: [null, 1] });
  });

  it("gets what vLLM leaves", () => {
    const type = workerType([wants(vllm("large", 8)), wants(ollama("a", 4))], { slots: { chat: 8 } });
    // 0.8 of 24 - 11.5 GiB: 10 GiB.
    expect(shares({ workerType: type, hardware: machine([gpu(24)]) }).a).toEqual([null, 5]);
  });

  it("on the CPU has the main memory", () => {
    const type = workerType([wants(ollama("a", 4))], { gpu: "none", slots: { chat: 8 } });
    expect(shares({ workerType: type, hardware: machine([], 8) }).a).toEqual([null, 2]);
  });
});

describe("LoRA adapters", () => {
  const adapter = (id: string, gib: number, engine: "vllm" | "ollama") => ({
    id,
    license: null,
    variant: variant(id, gib, { engine }),
  });
  const withAdapters = (engine: "vllm" | "ollama") => {
    const adapters = [adapter("sql", 1, engine), adapter("law", 2, engine)];
    return model("chat", [variant("chat", 10, { engine, adapters })]);
  };

  it("are chosen with their model, and stand behind it", () => {
    const type = workerType([wants(withAdapters("vllm"), { slots: 3, optional: true })]);
    const { models } = choose({ workerType: type, hardware: machine([gpu(24)]) });
    expect(models).toMatchObject([
      { id: "chat", adapterOf: null, required: false, share: { gpuMemory: 0.9 } },
      { id: "sql", adapterOf: "chat", required: false, context: 8192, slots: 3, gpus: [0], share: { gpuMemory: null } },
      { id: "law", adapterOf: "chat", variant: { location: "acme/law" }, reason: "goes with chat" },
    ]);
  });

  it("need memory: on vLLM all of them, on Ollama the largest", () => {
    const need = (engine: "vllm" | "ollama") =>
      choose({ workerType: workerType([wants(withAdapters(engine))]), hardware: machine([gpu(48)]) }).models[0]?.reason;
    expect(need("vllm")).toBe("needs 16.5 GiB of 43.2 GiB on GPU 0");
    expect(need("ollama")).toBe("needs 14.0 GiB of 48.0 GiB on GPU 0");
  });

  it("on Ollama are loaded with a model of their own each", () => {
    const type = workerType([wants(withAdapters("ollama"))], { slots: { chat: 8 } });
    // Three times 14 GiB, and a GiB for each further sequence of each.
    expect(shares({ workerType: type, hardware: machine([gpu(48)]) })).toEqual({
      chat: [null, 3],
      sql: [null, 3],
      law: [null, 3],
    });
  });

  it("do not make their model share its card", () => {
    const type = workerType([wants(withAdapters("vllm")), wants(vllm("other", 5))]);
    const { chat, sql } = shares({ workerType: type, hardware: machine([gpu(80)]) });
    expect([chat![0], sql![0]]).toEqual([Math.floor((16.5 / 80) * 10_000) / 10_000, null]);
  });
});
