import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readArchitecture } from "../../src/fetch/read-architecture.ts";

const read = (config: unknown) => readArchitecture(JSON.stringify(config));

const mistral = {
  architectures: ["MistralForCausalLM"],
  hidden_size: 4096,
  intermediate_size: 14336,
  max_position_embeddings: 32768,
  model_type: "mistral",
  num_attention_heads: 32,
  num_hidden_layers: 32,
  num_key_value_heads: 8,
  sliding_window: null,
  torch_dtype: "bfloat16",
  vocab_size: 32000,
};

describe("a config.json", () => {
  it("of Mistral 7B v0.2 tells all", () => {
    expect(read(mistral)).toEqual({
      attentionLayers: 32,
      windowedLayers: 0,
      window: 0,
      heads: 32,
      kvHeads: 8,
      headDim: 128,
      hiddenSize: 4096,
      kvBytes: 2,
      latentDim: null,
      maxContext: 32768,
      intermediateSize: 14336,
      quantizationGroup: null,
      dtype: "bfloat16",
    });
  });

  it("of Mistral 7B v0.1 has a window on every layer", () => {
    expect(read({ ...mistral, sliding_window: 4096 })).toMatchObject({
      attentionLayers: 0,
      windowedLayers: 32,
      window: 4096,
    });
  });

  it("of Qwen 2.5 names a window that is not used", () => {
    const qwen = {
      hidden_size: 3584,
      intermediate_size: 18944,
      max_position_embeddings: 32768,
      max_window_layers: 28,
      model_type: "qwen2",
      num_attention_heads: 28,
      num_hidden_layers: 28,
      num_key_value_heads: 4,
      sliding_window: 131072,
      torch_dtype: "bfloat16",
      use_sliding_window: false,
    };
    expect(read(qwen)).toMatchObject({ attentionLayers: 28, windowedLayers: 0, window: 0, kvHeads: 4, headDim: 128 });
    expect(read({ ...qwen, use_sliding_window: true, max_window_layers: 20 })).toMatchObject({
      attentionLayers: 20,
      windowedLayers: 8,
      window: 131072,
    });
  });

  it("of Gemma 2 alternates, whether it says so or not", () => {
    const gemma = {
      head_dim: 256,
      hidden_size: 3584,
      intermediate_size: 14336,
      max_position_embeddings: 8192,
      model_type: "gemma2",
      num_attention_heads: 16,
      num_hidden_layers: 42,
      num_key_value_heads: 8,
      sliding_window: 4096,
      torch_dtype: "float32",
    };
    const expected = { attentionLayers: 21, windowedLayers: 21, window: 4096, headDim: 256, dtype: "float32" };
    expect(read(gemma)).toMatchObject(expected);
    const layer_types = Array.from({ length: 42 }, (_, index) => `${index % 2 === 0 ? "sliding" : "full"}_attention`);
    expect(read({ ...gemma, layer_types })).toMatchObject(expected);
  });

  it("of Gemma 3 has one full layer in six, by its list or by its pattern", () => {
    const gemma = {
      head_dim: 256,
      hidden_size: 1152,
      intermediate_size: 6912,
      max_position_embeddings: 32768,
      model_type: "gemma3_text",
      num_attention_heads: 4,
      num_hidden_layers: 26,
      num_key_value_heads: 1,
      sliding_window: 512,
      torch_dtype: "bfloat16",
    };
    const expected = { attentionLayers: 4, windowedLayers: 22, window: 512, kvHeads: 1, headDim: 256 };
    expect(read({ ...gemma, sliding_window_pattern: 6 })).toMatchObject(expected);
    const layer_types = Array.from({ length: 26 }, (_, index) => `${index % 6 === 5 ? "full" : "sliding"}_attention`);
    expect(read({ ...gemma, layer_types, _sliding_window_pattern: 6 })).toMatchObject(expected);
  });

  it("of DeepSeek V3 caches its latent vector", () => {
    expect(
      read({
        hidden_size: 7168,
        intermediate_size: 18432,
        kv_lora_rank: 512,
        max_position_embeddings: 163840,
        model_type: "deepseek_v3",
        num_attention_heads: 128,
        num_hidden_layers: 61,
        num_key_value_heads: 128,
        qk_nope_head_dim: 128,
        qk_rope_head_dim: 64,
        quantization_config: {
          activation_scheme: "dynamic",
          fmt: "e4m3",
          quant_method: "fp8",
          weight_block_size: [128, 128],
        },
        torch_dtype: "bfloat16",
      }),
    ).toMatchObject({ attentionLayers: 61, latentDim: 576, dtype: "fp8", quantizationGroup: null });
  });

  it("of an encoder caches nothing", () => {
    const bert = {
      hidden_size: 384,
      intermediate_size: 1536,
      max_position_embeddings: 512,
      model_type: "bert",
      num_attention_heads: 12,
      num_hidden_layers: 6,
    };
    expect(read(bert)).toMatchObject({ attentionLayers: 0, windowedLayers: 0, heads: 12, kvHeads: 12, headDim: 32 });
    const distilbert = {
      dim: 768,
      hidden_dim: 3072,
      max_position_embeddings: 512,
      model_type: "distilbert",
      n_heads: 12,
      n_layers: 6,
    };
    expect(read(distilbert)).toMatchObject({ attentionLayers: 0, hiddenSize: 768, heads: 12 });
  });

  it("of a vision model has the language model one level down", () => {
    const { torch_dtype, ...text } = mistral;
    const llava = {
      architectures: ["LlavaForConditionalGeneration"],
      model_type: "llava",
      text_config: text,
      torch_dtype,
      vision_config: { hidden_size: 1024, num_attention_heads: 16, num_hidden_layers: 24 },
    };
    expect(read(llava)).toEqual(read(mistral));
    // Older ones name only what differs from a class's defaults, which are nowhere to be read.
    expect(read({ ...llava, text_config: { max_position_embeddings: 4096, model_type: "llama" } })).toBeNull();
  });

  it("of GPT-2 uses older names", () => {
    expect(
      read({ model_type: "gpt2", n_ctx: 1024, n_embd: 768, n_head: 12, n_layer: 12, n_positions: 1024 }),
    ).toMatchObject({ attentionLayers: 12, heads: 12, kvHeads: 12, headDim: 64, hiddenSize: 768, maxContext: 1024 });
  });

  it("of a grouped quantization tells the group, and nothing where there is none", () => {
    const gptq = { bits: 4, group_size: 128, quant_method: "gptq" };
    expect(read({ ...mistral, quantization_config: gptq })).toMatchObject({
      quantizationGroup: 128,
      dtype: "bfloat16",
    });
    expect(read({ ...mistral, quantization_config: { ...gptq, group_size: -1 } })).toMatchObject({
      quantizationGroup: null,
    });
  });

  it("in the newer spelling names its type `dtype`", () => {
    const { torch_dtype: _, ...rest } = mistral;
    expect(read({ ...rest, dtype: "float16" })).toMatchObject({ dtype: "float16" });
  });
});

describe("anything else", () => {
  it("gives null", () => {
    for (const text of ["", "{", "null", "7", '"text"', "[]", "{}", '{"text_config":null}', '{"text_config":"x"}']) {
      expect(readArchitecture(text), text).toBeNull();
    }
    for (const wrong of [0, -1, "32", null, Number.NaN, []]) {
      expect(read({ ...mistral, num_hidden_layers: wrong }), String(wrong)).toBeNull();
    }
  });

  it("never throws, and never gives a number that is none", () => {
    const names = [...Object.keys(mistral), "layer_types", "sliding_window_pattern", "text_config", "kv_lora_rank"];
    const garbage = fc.dictionary(fc.constantFrom(...names), fc.jsonValue());
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          garbage.map((change) => JSON.stringify({ ...mistral, ...change })),
        ),
        (text) => {
          const architecture = readArchitecture(text);
          for (const value of Object.values(architecture ?? {})) {
            if (typeof value === "number") expect(value).toBeGreaterThanOrEqual(0);
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});
