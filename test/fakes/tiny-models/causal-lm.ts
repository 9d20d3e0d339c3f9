import type { FileSource } from "../hub/hub.ts";
import { type Dimensions, dimensionsFor, llamaConfig, llamaTensors } from "./architectures.ts";
import { type GgufType, type GgufValue, ggufFile, valuesInBlock } from "./gguf.ts";
import { gitAttributes, readme } from "./repo-files.ts";
import { safetensorsFile, shardedSafetensors } from "./safetensors.ts";
import { byteLevelTokenizer } from "./tokenizers.ts";
import { seededBytes } from "./weights.ts";

const DUPLICATE_BYTES = 4096;

export interface CausalLmOptions {
  /** 1 makes one model.safetensors without an index. */
  shards?: number;
  /** All shards together. */
  sizeBytes?: number;
  /** The copies a Mistral or Llama repository carries: PyTorch shards, consolidated and original weights. */
  withDuplicates?: boolean;
}

/** The layout of mistralai/Mistral-7B-Instruct. */
export function causalLmRepo(id: string, options: CausalLmOptions = {}): Record<string, FileSource> {
  const { shards = 2, sizeBytes = 1024 * 1024, withDuplicates = false } = options;
  const tokenizer = byteLevelTokenizer();
  const vocabulary = tokenizer.tokens.length;
  const dimensions = dimensionsFor(llamaTensors, { sizeBytes, vocabulary, minLayers: Math.max(2, shards) });
  const tensors = llamaTensors(dimensions);
  return {
    ".gitattributes": gitAttributes(),
    "README.md": readme(id, { license: "apache-2.0", library_name: "transformers", pipeline_tag: "text-generation" }),
    "config.json": llamaConfig(dimensions),
    "generation_config.json": `${JSON.stringify({ bos_token_id: 1, eos_token_id: 2, do_sample: true }, null, 2)}\n`,
    ...tokenizer.files,
    "tokenizer.model": seededBytes(DUPLICATE_BYTES, `${id}/tokenizer.model`),
    ...(shards === 1
      ? { "model.safetensors": safetensorsFile({ tensors, seed: id }) }
      : shardedSafetensors({ tensors, shards, seed: id })),
    ...(withDuplicates && duplicates(id, shards, Object.keys(tensors))),
  };
}

/** One repository with a GGUF of the same model in several quantizations. */
export function ggufRepo(
  id: string,
  { quants = ["Q4_0", "Q8_0", "F16"], sizeBytes = 256 * 1024 }: { quants?: GgufType[]; sizeBytes?: number } = {},
): Record<string, FileSource> {
  const name = id
    .split("/")
    .at(-1)!
    .replace(/-GGUF$/i, "");
  const models = quants.map((type) => [`${name}.${type}.gguf`, llamaGguf({ type, sizeBytes, seed: id })]);
  return {
    ".gitattributes": gitAttributes(),
    "README.md": readme(id, { license: "apache-2.0", library_name: "gguf" }),
    ...Object.fromEntries(models),
  };
}

/** A GGUF of a llama with its tokenizer; `sizeBytes` is what its weights would take as F16. */
export function llamaGguf(options: { type: GgufType; sizeBytes: number; seed: string | number }): Buffer {
  const { type, sizeBytes, seed } = options;
  const { tokens } = byteLevelTokenizer();
  const near = dimensionsFor(llamaTensors, { sizeBytes, vocabulary: tokens.length, minLayers: 1 });
  // A row of every matrix must be whole blocks of the type.
  const block = valuesInBlock(type);
  const dimensions = {
    ...near,
    hidden: Math.max(block, near.hidden),
    intermediate: block * Math.ceil(near.intermediate / block),
  };
  const tensors = Object.entries(llamaTensors(dimensions)).map(([name, { shape }]) => {
    return [ggufName(name), { type: shape.length === 1 ? ("F32" as const) : type, shape }] as const;
  });
  return ggufFile({ metadata: ggufMetadata(dimensions, tokens), tensors: Object.fromEntries(tensors), seed });
}

function ggufMetadata(dimensions: Dimensions, tokens: string[]): Record<string, GgufValue> {
  return {
    "llama.block_count": dimensions.layers,
    "llama.context_length": 2048,
    "llama.embedding_length": dimensions.hidden,
    "llama.feed_forward_length": dimensions.intermediate,
    "llama.attention.head_count": dimensions.hidden / 16,
    "llama.attention.head_count_kv": dimensions.hidden / 16,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.freq_base": { f32: 10000 },
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "default",
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.token_type": tokens.map((_, index) => (index < 3 ? 3 : 1)),
    "tokenizer.ggml.merges": [],
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
  };
}

const GGUF_NAMES: Record<string, string> = {
  "model.embed_tokens": "token_embd",
  "model.norm": "output_norm",
  lm_head: "output",
  input_layernorm: "attn_norm",
  post_attention_layernorm: "ffn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
};

function ggufName(name: string): string {
  const [, layer, part] = /^(?:model\.layers\.(\d+)\.)?(.+)\.weight$/.exec(name)!;
  return `${layer === undefined ? "" : `blk.${layer}.`}${GGUF_NAMES[part!]}.weight`;
}

function duplicates(id: string, shards: number, tensors: string[]): Record<string, FileSource> {
  const total = String(shards).padStart(5, "0");
  const pytorch = Array.from(
    { length: shards },
    (_, shard) => `pytorch_model-${String(shard + 1).padStart(5, "0")}-of-${total}.bin`,
  );
  const names = [...pytorch, "consolidated.safetensors", "original/consolidated.00.pth"];
  const weights = Object.fromEntries(tensors.map((name, index) => [name, pytorch[index % shards]]));
  const index = { metadata: { total_size: DUPLICATE_BYTES * shards }, weight_map: weights };
  return {
    ...Object.fromEntries(names.map((name) => [name, seededBytes(DUPLICATE_BYTES, `${id}/${name}`)])),
    "pytorch_model.bin.index.json": `${JSON.stringify(index, null, 2)}\n`,
    "params.json": `${JSON.stringify({ dim: 64, n_layers: 2 }, null, 2)}\n`,
    "original/params.json": `${JSON.stringify({ dim: 64, n_layers: 2 }, null, 2)}\n`,
  };
}
