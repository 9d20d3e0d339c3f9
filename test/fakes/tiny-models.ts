/** Real model files and repositories, small, and the same for the same seed. */
export {
  bertConfig,
  bertTensors,
  type Dimensions,
  dimensionsFor,
  llamaConfig,
  llamaTensors,
} from "./tiny-models/architectures.ts";
export { type CausalLmOptions, causalLmRepo, ggufRepo, llamaGguf } from "./tiny-models/causal-lm.ts";
export { type GgufSpec, type GgufType, type GgufValue, ggufFile } from "./tiny-models/gguf.ts";
export { safetensorsFile, shardedSafetensors, type Tensors } from "./tiny-models/safetensors.ts";
export { sentenceTransformerRepo } from "./tiny-models/sentence-transformer.ts";
export { byteLevelTokenizer, type Tokenizer, wordPieceTokenizer } from "./tiny-models/tokenizers.ts";
export { type Dtype, type Seed, seededBytes } from "./tiny-models/weights.ts";
