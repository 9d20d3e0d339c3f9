import * as z from "zod";
import type { Architecture } from "../model.ts";

const positive = z.number().positive();
const shape = z.object({
  model_type: z.string().optional(),
  num_hidden_layers: positive,
  hidden_size: positive,
  num_attention_heads: positive,
  num_key_value_heads: positive.nullish(),
  head_dim: positive.nullish(),
  intermediate_size: positive.nullish(),
  max_position_embeddings: positive.nullish(),
  sliding_window: z.number().nullish(),
  use_sliding_window: z.boolean().nullish(),
  max_window_layers: z.number().nullish(),
  layer_types: z.array(z.string()).nullish(),
  sliding_window_pattern: positive.nullish(),
  kv_lora_rank: positive.nullish(),
  qk_rope_head_dim: positive.nullish(),
  torch_dtype: z.string().nullish(),
  dtype: z.string().nullish(),
  quantization_config: z.object({ quant_method: z.string().optional(), group_size: z.number().nullish() }).nullish(),
});

/** Encoders: every token at once, nothing cached. */
const ENCODERS =
  /^(bert|roberta|xlm-roberta|mpnet|distilbert|deberta.*|electra|albert|nomic_bert|new|modernbert|camembert)$/;

/** What VRAM need depends on, from the text of a config.json; null where it does not say. */
export function readArchitecture(configJson: string): Architecture | null {
  let config: Record<string, unknown>;
  try {
    config = JSON.parse(configJson) as Record<string, unknown>;
  } catch {
    return null;
  }
  // Vision models keep the language model's shape one level down; older ones use other names for the same thing.
  const text = { ...config, ...(config?.text_config as object | undefined) } as Record<string, unknown>;
  const result = shape.safeParse({
    ...text,
    num_hidden_layers: text.num_hidden_layers ?? text.n_layer ?? text.n_layers ?? text.num_layers,
    hidden_size: text.hidden_size ?? text.n_embd ?? text.d_model ?? text.dim,
    num_attention_heads: text.num_attention_heads ?? text.n_head ?? text.n_heads,
    max_position_embeddings: text.max_position_embeddings ?? text.n_positions,
  });
  if (!result.success) return null;
  const parsed = result.data;
  const layers = ENCODERS.test(parsed.model_type ?? "") ? 0 : parsed.num_hidden_layers;
  const windowedLayers = Math.min(layers, countWindowed(parsed, layers));
  return {
    attentionLayers: layers - windowedLayers,
    windowedLayers,
    window: windowedLayers > 0 ? (parsed.sliding_window ?? 0) : 0,
    heads: parsed.num_attention_heads,
    kvHeads: parsed.num_key_value_heads ?? parsed.num_attention_heads,
    headDim: parsed.head_dim ?? Math.floor(parsed.hidden_size / parsed.num_attention_heads),
    hiddenSize: parsed.hidden_size,
    kvBytes: 2,
    latentDim: parsed.kv_lora_rank ? parsed.kv_lora_rank + (parsed.qk_rope_head_dim ?? 0) : null,
    maxContext: parsed.max_position_embeddings ?? null,
    intermediateSize: parsed.intermediate_size ?? null,
    // -1 stands for one group per channel, which is no grouping.
    quantizationGroup: Math.max(0, parsed.quantization_config?.group_size ?? 0) || null,
    dtype: parsed.quantization_config?.quant_method?.includes("fp8")
      ? "fp8"
      : (parsed.torch_dtype ?? parsed.dtype ?? null),
  };
}

function countWindowed(config: z.output<typeof shape>, layers: number): number {
  if (!(Number(config.sliding_window) > 0) || config.use_sliding_window === false) return 0;
  if (config.layer_types) return config.layer_types.filter((type) => type === "sliding_attention").length;
  // Every so many layers one attends to everything; Gemma 2 does so without saying it.
  const pattern = config.sliding_window_pattern ?? (config.model_type === "gemma2" ? 2 : null);
  if (pattern) return layers - Math.floor(layers / pattern);
  if (config.use_sliding_window && config.max_window_layers != null)
    return Math.max(0, layers - config.max_window_layers);
  return layers;
}
