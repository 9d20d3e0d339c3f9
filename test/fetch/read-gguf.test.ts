import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readGguf, readGgufStart } from "../../src/fetch/read-gguf.ts";
import { type GgufValue, ggufFile } from "../fakes/tiny-models/gguf.ts";

const llama = {
  "llama.block_count": 32,
  "llama.context_length": 8192,
  "llama.embedding_length": 4096,
  "llama.feed_forward_length": 14336,
  "llama.attention.head_count": 32,
  "llama.attention.head_count_kv": 8,
};
const tokens = {
  "tokenizer.ggml.model": "gpt2",
  "tokenizer.ggml.tokens": Array.from({ length: 9000 }, (_, at) => `t${at}`),
};

const file = (metadata: Record<string, GgufValue>) => ggufFile({ metadata, tensors: {} });
/** The same keys for another architecture. */
const as = (name: string, more: Record<string, GgufValue> = {}, base: Record<string, GgufValue> = llama) =>
  file({
    "general.architecture": name,
    ...Object.fromEntries(
      Object.entries({ ...base, ...more }).map(([key, value]) => [key.replace(/^llama\./, `${name}.`), value]),
    ),
  });

describe("what fitting needs", () => {
  it("of a usual model", () => {
    expect(readGguf(file(llama))).toEqual({
      attentionLayers: 32,
      windowedLayers: 0,
      window: 0,
      heads: 32,
      kvHeads: 8,
      headDim: 128,
      hiddenSize: 4096,
      kvBytes: 2,
      latentDim: null,
      maxContext: 8192,
      intermediateSize: 14336,
      quantizationGroup: null,
      dtype: null,
    });
  });

  it.each<[string, Buffer, object]>([
    ["heads of their own size", as("llama", { "llama.attention.key_length": 256 }), { headDim: 256 }],
    ["without grouped heads", as("llama", {}, { ...llama, "llama.attention.head_count_kv": 0 }), { kvHeads: 32 }],
    ["an encoder caches nothing", as("nomic-bert", { "llama.attention.causal": false }), { attentionLayers: 0 }],
    ["not causal", as("gemma-embedding", { "llama.attention.causal": false }), { attentionLayers: 0 }],
    [
      "windows by a pattern that goes without saying",
      as("gemma3", { "llama.attention.sliding_window": 1024 }),
      { attentionLayers: 5, windowedLayers: 27, window: 1024 },
    ],
    [
      "by a pattern that is said",
      as("other", { "llama.attention.sliding_window": 512, "llama.attention.sliding_window_pattern": 4 }),
      { attentionLayers: 8, windowedLayers: 24, window: 512 },
    ],
    [
      "by a list",
      as("gemma4", { "llama.attention.sliding_window": 512, "llama.attention.sliding_window_pattern": [1, 1, 0, 1] }),
      { attentionLayers: 29, windowedLayers: 3 },
    ],
    [
      "a window that the engine does not use",
      as("phi3", { "llama.attention.sliding_window": 2048 }),
      { attentionLayers: 32, window: 0 },
    ],
    [
      "layers without attention",
      as("lfm2", { "llama.attention.head_count_kv": [0, 8, 0, 8] }),
      { attentionLayers: 2, kvHeads: 8 },
    ],
    ["attention now and then", as("qwen3next", { "llama.full_attention_interval": 4 }), { attentionLayers: 8 }],
    [
      "latent attention",
      as("deepseek2", {
        "llama.attention.key_length_mla": 192,
        "llama.attention.kv_lora_rank": 512,
        "llama.rope.dimension_count": 64,
      }),
      { latentDim: 576 },
    ],
  ])("%s", (_, bytes, expected) => {
    expect(readGguf(bytes)).toMatchObject(expected);
  });

  it("stops at the tokenizer", () => {
    const whole = file({ ...llama, ...tokens });
    expect(whole.length).toBeGreaterThan(100_000);
    expect(readGguf(whole.subarray(0, 1000))).toEqual(readGguf(file(llama)));
  });

  it("reads past the tokenizer where the rest comes after it, in bigger pieces", async () => {
    const whole = file({ ...tokens, ...llama });
    const asked: number[] = [];
    const found = await readGgufStart(whole.length, async (length) => {
      asked.push(length);
      return whole.subarray(0, length);
    });
    expect(found).toEqual(readGguf(file(llama)));
    expect(asked).toEqual([64 << 10, whole.length]);
  });

  it.each<[string, Uint8Array]>([
    ["no bytes", Buffer.alloc(0)],
    ["another file", Buffer.from("PK\u0003\u0004".padEnd(100))],
    ["another version", Buffer.concat([Buffer.from("GGUF\u0001\0\0\0"), Buffer.alloc(40)])],
    ["no shape", file({ "llama.block_count": 32 })],
    ["cut off", file(llama).subarray(0, 200)],
  ])("nothing of %s", async (_, bytes) => {
    expect(await readGgufStart(bytes.length, async () => bytes)).toBeNull();
  });
});

describe("whatever the bytes", () => {
  const isAnswer = (found: unknown) => found === null || found === "more" || typeof found === "object";

  it("of garbage", () => {
    const garbage = fc.uint8Array({ maxLength: 300 });
    fc.assert(fc.property(garbage, (bytes) => isAnswer(readGguf(Buffer.concat([file(llama).subarray(0, 24), bytes])))));
    fc.assert(fc.property(garbage, (bytes) => isAnswer(readGguf(bytes))));
  });

  it("of a file with wrong bytes in it", () => {
    const whole = file({ ...llama, "tokenizer.ggml.tokens": ["a", "b"], "llama.list": [1, 2, 3] });
    const changes = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(changes, (list) => {
        const bytes = Buffer.from(whole);
        for (const [at, value] of list) bytes[at] = value;
        return isAnswer(readGguf(bytes));
      }),
      { numRuns: 1000 },
    );
  });

  it("of a beginning: what is told of it holds of the whole", () => {
    const whole = file({ ...llama, ...tokens });
    const expected = readGguf(whole);
    fc.assert(
      fc.property(fc.nat(2000), (length) => {
        const found = readGguf(whole.subarray(0, length));
        return found === "more" || JSON.stringify(found) === JSON.stringify(expected);
      }),
    );
  });
});
