import type { FileSource } from "../hub/hub.ts";
import { bertConfig, bertTensors, dimensionsFor } from "./architectures.ts";
import { gitAttributes, readme } from "./repo-files.ts";
import { safetensorsFile } from "./safetensors.ts";
import { wordPieceTokenizer } from "./tokenizers.ts";
import { seededBytes } from "./weights.ts";

/** Bytes of each copy in another framework's format: enough to be seen when one is fetched by mistake. */
const DUPLICATE_BYTES = 4096;

/** The layout of sentence-transformers/all-MiniLM-L6-v2, every duplicate included; `sizeBytes` is model.safetensors. */
export function sentenceTransformerRepo(id: string, sizeBytes = 256 * 1024): Record<string, FileSource> {
  const tokenizer = wordPieceTokenizer();
  const dimensions = dimensionsFor(bertTensors, { sizeBytes, vocabulary: tokenizer.tokens.length, minLayers: 2 });
  const duplicate = (name: string) => seededBytes(DUPLICATE_BYTES, `${id}/${name}`);
  const modules = ["Transformer", "Pooling", "Normalize"].map((type, index) => ({
    idx: index,
    name: String(index),
    path: index === 0 ? "" : `${index}_${type}`,
    type: `sentence_transformers.models.${type}`,
  }));
  const pooling = {
    word_embedding_dimension: dimensions.hidden,
    pooling_mode_cls_token: false,
    pooling_mode_mean_tokens: true,
    pooling_mode_max_tokens: false,
    pooling_mode_mean_sqrt_len_tokens: false,
  };
  const versions = { sentence_transformers: "2.0.0", transformers: "4.6.1", pytorch: "1.8.1" };
  return {
    ".gitattributes": gitAttributes(),
    "README.md": readme(id, {
      language: "en",
      license: "apache-2.0",
      library_name: "sentence-transformers",
      pipeline_tag: "sentence-similarity",
      tags: ["sentence-transformers", "feature-extraction", "sentence-similarity"],
    }),
    "1_Pooling/config.json": json(pooling),
    "config.json": bertConfig(dimensions),
    "config_sentence_transformers.json": json({ __version__: versions }),
    "modules.json": json(modules),
    "sentence_bert_config.json": json({ max_seq_length: 64, do_lower_case: false }),
    ...tokenizer.files,
    "model.safetensors": safetensorsFile({ tensors: bertTensors(dimensions), seed: id }),
    "pytorch_model.bin": duplicate("pytorch_model.bin"),
    "tf_model.h5": duplicate("tf_model.h5"),
    "rust_model.ot": duplicate("rust_model.ot"),
    "onnx/model.onnx": duplicate("onnx/model.onnx"),
    "onnx/model_qint8_avx512.onnx": duplicate("onnx/model_qint8_avx512.onnx"),
    "openvino/openvino_model.bin": duplicate("openvino/openvino_model.bin"),
    "openvino/openvino_model.xml": '<?xml version="1.0"?>\n<net name="tiny" version="11"></net>\n',
    "data_config.json": json([{ name: "made-up.jsonl.gz", lines: 1, weight: 1 }]),
    "train_script.py": '"""\nTrain script for a single file.\n"""\n',
  };
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
