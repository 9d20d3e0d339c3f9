import { describe, expect, it } from "vitest";
import { chooseFiles } from "../../src/fetch/choose-files.ts";
import type { FileSpec, Variant } from "../../src/model.ts";
import { modelSpec } from "./sync-context.ts";

/** A listing as `size path` lines; sizes in bytes, or in MB with an M. */
function listing(text: string): FileSpec[] {
  return text
    .trim()
    .split("\n")
    .map((line) => {
      const [, size = "", unit = "", path = ""] = /^\s*([\d.]+)(M?) (.+)$/.exec(line) ?? [];
      return { path, size: Number(size) * (unit ? 1e6 : 1), digest: { algorithm: "git-sha1", hex: "0" } };
    });
}

function choose(files: FileSpec[], variant: Partial<Variant> = {}) {
  const { files: chosen, ...sizes } = chooseFiles(files, modelSpec("acme/model", variant).variant);
  return { paths: chosen.map(({ path }) => path).sort(), ...sizes };
}

const miniLm = listing(`
  1229 .gitattributes
  190 1_Pooling/config.json
  10454 README.md
  612 config.json
  116 config_sentence_transformers.json
  39265 data_config.json
  90.9M model.safetensors
  349 modules.json
  90.4M onnx/model.onnx
  45.3M onnx/model_O4.onnx
  23M onnx/model_qint8_avx512.onnx
  90.3M openvino/openvino_model.bin
  211315 openvino/openvino_model.xml
  90.9M pytorch_model.bin
  90.9M rust_model.ot
  53 sentence_bert_config.json
  112 special_tokens_map.json
  91M tf_model.h5
  466247 tokenizer.json
  350 tokenizer_config.json
  13156 train_script.py
  231508 vocab.txt
`);

const mistral = listing(`
  1519 .gitattributes
  16017 README.md
  601 config.json
  14496.1M consolidated.safetensors
  111 generation_config.json
  4949.5M model-00001-of-00003.safetensors
  5000M model-00002-of-00003.safetensors
  4546.8M model-00003-of-00003.safetensors
  25125 model.safetensors.index.json
  202 params.json
  4949.5M pytorch_model-00001-of-00003.bin
  5000M pytorch_model-00002-of-00003.bin
  4546.8M pytorch_model-00003-of-00003.bin
  23950 pytorch_model.bin.index.json
  414 special_tokens_map.json
  1.9M tokenizer.json
  587404 tokenizer.model
  587404 tokenizer.model.v3
  141031 tokenizer_config.json
`);

const opt = listing(`
  1175 .gitattributes
  11079 LICENSE.md
  8637 README.md
  651 config.json
  662M flax_model.msgpack
  137 generation_config.json
  456318 merges.txt
  250.5M pytorch_model.bin
  441 special_tokens_map.json
  662M tf_model.h5
  685 tokenizer_config.json
  898822 vocab.json
`);

const llama = listing(`
  855 config.json
  187 generation_config.json
  4976.7M model-00001-of-00004.safetensors
  4999.8M model-00002-of-00004.safetensors
  4915.9M model-00003-of-00004.safetensors
  1168.1M model-00004-of-00004.safetensors
  23950 model.safetensors.index.json
  16060.6M original/consolidated.00.pth
  199 original/params.json
  2.2M original/tokenizer.model
  9.1M tokenizer.json
  55351 tokenizer_config.json
`);

const gguf = listing(`
  2444 .gitattributes
  20480 README.md
  31 config.json
  3083.1M mistral-7b-instruct-v0.2.Q2_K.gguf
  4109M mistral-7b-instruct-v0.2.Q4_0.gguf
  4140.4M mistral-7b-instruct-v0.2.Q4_K_S.gguf
  4368.4M mistral-7b-instruct-v0.2.Q4_K_M.gguf
  5131.4M mistral-7b-instruct-v0.2.Q5_K_M.gguf
  7695.9M mistral-7b-instruct-v0.2.Q8_0.gguf
`);

const checkpoint = listing(`
  600 config.json
  988M model.safetensors
  1976M optimizer.pt
  14244 rng_state.pth
  1064 scheduler.pt
  5000 trainer_state.json
  5368 training_args.bin
  700000 tokenizer.json
`);

const paths = (files: FileSpec[], keep: RegExp) => files.flatMap(({ path }) => (keep.test(path) ? [path] : [])).sort();

describe("without anything asked for", () => {
  it("takes all-MiniLM-L6-v2 with its pooling, and none of its seven copies", () => {
    expect(choose(miniLm)).toEqual({
      paths: paths(miniLm, /^(?!\.gitattributes|onnx|openvino).*\.(md|json|txt|py|safetensors)$/),
      weightsBytes: 90.9e6,
      projectorBytes: 0,
    });
  });

  it("takes the shards of Mistral with their index, without the consolidated file and the pickles", () => {
    expect(choose(mistral)).toEqual({
      paths: paths(mistral, /^(README|config|generation|model|params|special|tokenizer)/),
      weightsBytes: (4949.5 + 5000 + 4546.8) * 1e6,
      projectorBytes: 0,
    });
  });

  it("leaves out the original folder of Llama", () => {
    expect(choose(llama).paths).toEqual(paths(llama, /^(?!original)/));
  });

  it("leaves out what training left behind", () => {
    expect(choose(checkpoint)).toEqual({
      paths: ["config.json", "model.safetensors", "tokenizer.json", "trainer_state.json"],
      weightsBytes: 988e6,
      projectorBytes: 0,
    });
    const pickled = listing(`600 config.json\n988M pytorch_model.bin\n1976M optimizer.pt\n5368 training_args.bin`);
    expect(choose(pickled, { allowPickle: true })).toMatchObject({
      paths: ["config.json", "pytorch_model.bin"],
      weightsBytes: 988e6,
    });
  });

  it("takes a consolidated file where it is all there is", () => {
    const only = listing("14496M consolidated.safetensors\n202 params.json\n587404 tokenizer.model.v3");
    expect(choose(only)).toMatchObject({ paths: paths(only, /./), weightsBytes: 14496e6 });
  });

  it("leaves out pictures and archives", () => {
    const files = listing("600 config.json\n9M model.safetensors\n1M assets/figure.PNG\n2M demo.mp4\n3M all.tar.gz");
    expect(choose(files).paths).toEqual(["config.json", "model.safetensors"]);
  });
});

describe("a repository with nothing but pickles", () => {
  it("is refused, saying which file, why, and what to do", () => {
    expect(() => choose(opt)).toThrow(
      expect.objectContaining({
        code: "PICKLE_REFUSED",
        message: expect.stringContaining("pytorch_model.bin"),
        hint: expect.stringContaining('"allowPickle": true'),
      }),
    );
  });

  it("is taken where that is allowed, without the copies of other frameworks", () => {
    expect(choose(opt, { allowPickle: true })).toEqual({
      paths: paths(opt, /^(?!\.gitattributes|flax|tf_)/),
      weightsBytes: 250.5e6,
      projectorBytes: 0,
    });
  });

  it("is refused also where the variant asks for pickles, until they are allowed", () => {
    expect(() => choose(mistral, { format: "pickle" })).toThrow(expect.objectContaining({ code: "PICKLE_REFUSED" }));
    const { paths: chosen, weightsBytes } = choose(mistral, { format: "pickle", allowPickle: true });
    expect(chosen.filter((path) => /\.(bin|safetensors)|index/.test(path))).toEqual([
      "pytorch_model-00001-of-00003.bin",
      "pytorch_model-00002-of-00003.bin",
      "pytorch_model-00003-of-00003.bin",
      "pytorch_model.bin.index.json",
    ]);
    expect(weightsBytes).toBe((4949.5 + 5000 + 4546.8) * 1e6);
  });
});

describe("a repository of GGUF files", () => {
  const chosen = (variant: Partial<Variant>, files = gguf) =>
    choose(files, { format: "gguf", ...variant }).paths.filter((path) => path.endsWith(".gguf"));

  it("gives one quantization: the usual one, the one asked for, or the smallest", () => {
    expect(chosen({})).toEqual(["mistral-7b-instruct-v0.2.Q4_K_M.gguf"]);
    expect(chosen({ quantization: "Q8_0" })).toEqual(["mistral-7b-instruct-v0.2.Q8_0.gguf"]);
    expect(chosen({ quantization: "q2_k" })).toEqual(["mistral-7b-instruct-v0.2.Q2_K.gguf"]);
    expect(chosen({}, listing("5M a-IQ4_XS.gguf\n3M a-Q3_K_L.gguf\n9M a-f16.gguf"))).toEqual(["a-Q3_K_L.gguf"]);
    expect(choose(gguf, { format: "gguf" }).weightsBytes).toBe(4368.4e6);
  });

  it("says which quantizations there are when the one asked for is not among them", () => {
    expect(() => chosen({ quantization: "Q6_K" })).toThrow(
      expect.objectContaining({
        code: "FILE_NOT_FOUND",
        message: expect.stringContaining("Q6_K"),
        hint: expect.stringContaining("q2_k, q4_0, q4_k_s, q4_k_m, q5_k_m, q8_0"),
      }),
    );
  });

  it("gives all parts of a split file, and only of that", () => {
    const split = listing(`
      40M BF16/Big-BF16-00001-of-00002.gguf
      30M BF16/Big-BF16-00002-of-00002.gguf
      20M Q4_K_M/Big-Q4_K_M-00001-of-00003.gguf
      20M Q4_K_M/Big-Q4_K_M-00002-of-00003.gguf
      10M Q4_K_M/Big-Q4_K_M-00003-of-00003.gguf
    `);
    expect(chosen({}, split)).toEqual(paths(split, /Q4_K_M/));
    expect(chosen({ quantization: "BF16" }, split)).toEqual(paths(split, /BF16/));
  });

  it("gives one projector beside the weights, counted by itself", () => {
    const vision = listing(`
      4368M llava-v1.6-mistral-7b.Q4_K_M.gguf
      3083M llava-v1.6-mistral-7b.Q3_K_M.gguf
      624M mmproj-model-f16.gguf
      1200M mmproj-model-f32.gguf
    `);
    expect(choose(vision, { format: "gguf" })).toEqual({
      paths: ["llava-v1.6-mistral-7b.Q4_K_M.gguf", "mmproj-model-f16.gguf"],
      weightsBytes: 4368e6,
      projectorBytes: 624e6,
    });
  });

  it("is understood in the other ways files are named", () => {
    const qwen = listing("9M qwen2.5-0.5b-instruct-fp16.gguf\n3M qwen2.5-0.5b-instruct-q4_0.gguf");
    expect(chosen({ quantization: "FP16" }, qwen)).toEqual(["qwen2.5-0.5b-instruct-fp16.gguf"]);
    expect(chosen({}, listing("9M model.gguf"))).toEqual(["model.gguf"]);
    expect(chosen({ quantization: "MXFP4" }, listing("9M gpt-oss-20b-MXFP4.gguf\n3M gpt-oss-20b-Q4_0.gguf"))).toEqual([
      "gpt-oss-20b-MXFP4.gguf",
    ]);
  });
});

describe("include and exclude", () => {
  it("win over the built-in choice", () => {
    expect(choose(miniLm, { include: ["onnx/**", "*.json"] }).paths).toEqual(paths(miniLm, /^onnx|\.json$/));
    expect(choose(opt, { include: ["pytorch_model.bin"] })).toMatchObject({
      paths: ["pytorch_model.bin"],
      weightsBytes: 250.5e6,
    });
  });

  it("match a name in any folder, a path with a slash from the top, and a folder with all below", () => {
    expect(choose(miniLm, { include: ["config.json"] }).paths).toEqual(["1_Pooling/config.json", "config.json"]);
    expect(choose(miniLm, { include: ["1_*/*.json"] }).paths).toEqual(["1_Pooling/config.json"]);
    expect(choose(miniLm, { include: ["openvino/"] }).paths).toEqual(paths(miniLm, /^openvino/));
  });

  it("can take from the built-in choice", () => {
    expect(choose(miniLm, { exclude: ["*.py", "data_config.json"] }).paths).toEqual(
      choose(miniLm).paths.filter((path) => !/\.py$|^data_config/.test(path)),
    );
    expect(choose(miniLm, { include: ["*.json"], exclude: ["1_Pooling/**"] }).paths).toEqual(
      paths(miniLm, /^(?!1_Pool).*\.json$/),
    );
  });

  it("that leave nothing are an error that names them", () => {
    expect(() => choose(miniLm, { include: ["*.gguf"] })).toThrow(
      expect.objectContaining({ code: "FILE_NOT_FOUND", message: expect.stringContaining('["*.gguf"]') }),
    );
    expect(() => choose(miniLm, { exclude: ["**/*", "*"] })).toThrow(
      expect.objectContaining({ code: "FILE_NOT_FOUND" }),
    );
  });
});
