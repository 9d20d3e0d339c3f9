import { type Tensors, tensorsSize } from "./safetensors.ts";
import type { Dtype } from "./weights.ts";

export interface Dimensions {
  hidden: number;
  layers: number;
  intermediate: number;
  vocabulary: number;
}

/** config.json of a Mistral- or Llama-like causal model. */
export function llamaConfig(dimensions: Dimensions, { type = "mistral", dtype = "bfloat16" } = {}): string {
  const { hidden, layers, intermediate, vocabulary } = dimensions;
  const heads = Math.max(1, hidden / 16);
  return json({
    architectures: [type === "mistral" ? "MistralForCausalLM" : "LlamaForCausalLM"],
    attention_dropout: 0,
    bos_token_id: 1,
    eos_token_id: 2,
    head_dim: hidden / heads,
    hidden_act: "silu",
    hidden_size: hidden,
    initializer_range: 0.02,
    intermediate_size: intermediate,
    max_position_embeddings: 2048,
    model_type: type,
    num_attention_heads: heads,
    num_hidden_layers: layers,
    num_key_value_heads: heads,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: false,
    torch_dtype: dtype,
    use_cache: true,
    vocab_size: vocabulary,
  });
}

export function llamaTensors({ hidden, layers, intermediate, vocabulary }: Dimensions, dtype: Dtype = "BF16"): Tensors {
  const tensors: Tensors = { "model.embed_tokens.weight": { dtype, shape: [vocabulary, hidden] } };
  for (let layer = 0; layer < layers; layer++) {
    const add = (name: string, ...shape: number[]) => {
      tensors[`model.layers.${layer}.${name}.weight`] = { dtype, shape };
    };
    add("input_layernorm", hidden);
    for (const part of ["q", "k", "v", "o"]) add(`self_attn.${part}_proj`, hidden, hidden);
    add("post_attention_layernorm", hidden);
    add("mlp.gate_proj", intermediate, hidden);
    add("mlp.up_proj", intermediate, hidden);
    add("mlp.down_proj", hidden, intermediate);
  }
  tensors["model.norm.weight"] = { dtype, shape: [hidden] };
  tensors["lm_head.weight"] = { dtype, shape: [vocabulary, hidden] };
  return tensors;
}

/** config.json of a BERT-like encoder. */
export function bertConfig({ hidden, layers, intermediate, vocabulary }: Dimensions): string {
  return json({
    architectures: ["BertModel"],
    attention_probs_dropout_prob: 0.1,
    hidden_act: "gelu",
    hidden_dropout_prob: 0.1,
    hidden_size: hidden,
    initializer_range: 0.02,
    intermediate_size: intermediate,
    layer_norm_eps: 1e-12,
    max_position_embeddings: BERT_POSITIONS,
    model_type: "bert",
    num_attention_heads: Math.max(1, hidden / 16),
    num_hidden_layers: layers,
    pad_token_id: 0,
    position_embedding_type: "absolute",
    torch_dtype: "float32",
    type_vocab_size: 2,
    vocab_size: vocabulary,
  });
}

const BERT_POSITIONS = 64;

export function bertTensors({ hidden, layers, intermediate, vocabulary }: Dimensions): Tensors {
  const tensors: Tensors = {};
  const add = (name: string, ...shape: number[]) => {
    tensors[name] = { dtype: "F32", shape };
  };
  const dense = (name: string, out: number, into: number) => {
    add(`${name}.weight`, out, into);
    add(`${name}.bias`, out);
  };
  const norm = (name: string) => {
    add(`${name}.LayerNorm.weight`, hidden);
    add(`${name}.LayerNorm.bias`, hidden);
  };
  add("embeddings.word_embeddings.weight", vocabulary, hidden);
  add("embeddings.position_embeddings.weight", BERT_POSITIONS, hidden);
  add("embeddings.token_type_embeddings.weight", 2, hidden);
  norm("embeddings");
  for (let number = 0; number < layers; number++) {
    const layer = `encoder.layer.${number}`;
    for (const part of ["query", "key", "value"]) dense(`${layer}.attention.self.${part}`, hidden, hidden);
    dense(`${layer}.attention.output.dense`, hidden, hidden);
    norm(`${layer}.attention.output`);
    dense(`${layer}.intermediate.dense`, intermediate, hidden);
    dense(`${layer}.output.dense`, hidden, intermediate);
    norm(`${layer}.output`);
  }
  dense("pooler.dense", hidden, hidden);
  return tensors;
}

/**
 * Dimensions whose weights come close to `sizeBytes`: the widest model that still has `minLayers` layers, with the
 * intermediate size taking up the rest.
 */
export function dimensionsFor(
  tensors: (dimensions: Dimensions) => Tensors,
  { sizeBytes, vocabulary, minLayers }: { sizeBytes: number; vocabulary: number; minLayers: number },
): Dimensions {
  const sized = (hidden: number, layers: number, intermediate: number) =>
    tensorsSize(tensors({ hidden, layers, intermediate, vocabulary }));
  const hidden = [1024, 256, 64].find((width) => sized(width, minLayers, width) <= sizeBytes) ?? 16;
  const bare = sized(hidden, 0, 0);
  const usual = sized(hidden, 1, 3 * hidden) - bare;
  const layers = Math.max(minLayers, Math.round((sizeBytes - bare) / usual));
  const fixed = sized(hidden, layers, 0);
  const step = sized(hidden, layers, 1) - fixed || 1;
  return { hidden, layers, vocabulary, intermediate: Math.max(1, Math.round((sizeBytes - fixed) / step)) };
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
