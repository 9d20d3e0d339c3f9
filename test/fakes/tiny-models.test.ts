import { expect, it } from "vitest";
import {
  causalLmRepo,
  ggufFile,
  ggufRepo,
  safetensorsFile,
  sentenceTransformerRepo,
  type Tensors,
} from "./tiny-models.ts";

interface Header {
  [tensor: string]: { data_offsets: [number, number] };
}

function readHeader(file: Buffer): { header: Header; dataBytes: number } {
  const length = Number(file.readBigUInt64LE());
  const { __metadata__, ...header } = JSON.parse(file.subarray(8, 8 + length).toString());
  return { header, dataBytes: file.length - 8 - length };
}

it("makes safetensors files without holes, the same for the same seed", () => {
  const tensors: Tensors = { a: { dtype: "U8", shape: [3] }, b: { dtype: "F32", shape: [2, 5] } };
  const make = (seed: number) => safetensorsFile({ tensors, seed });
  const { header, dataBytes } = readHeader(make(7));
  expect([header.b!.data_offsets, header.a!.data_offsets, dataBytes]).toEqual([[0, 40], [40, 43], 43]);
  expect(make(7).equals(make(7))).toBe(true);
  expect(make(7).equals(make(8))).toBe(false);
});

it("makes a causal model whose index names the shard of every tensor", () => {
  const files = causalLmRepo("acme/lm", { shards: 3, sizeBytes: 600_000, withDuplicates: true }) as Record<
    string,
    Buffer
  >;
  const index = JSON.parse(String(files["model.safetensors.index.json"]));
  const entries = Object.entries(index.weight_map as Record<string, string>);
  for (const [tensor, shard] of entries) expect(readHeader(files[shard]!).header).toHaveProperty([tensor]);
  expect(new Set(entries.map(([, shard]) => shard)).size).toBe(3);
  expect(index.metadata.total_size).toBeGreaterThan(590_000);
  expect(index.metadata.total_size).toBeLessThan(610_000);
  expect(Object.keys(files)).toEqual(
    expect.arrayContaining([
      "pytorch_model-00003-of-00003.bin",
      "consolidated.safetensors",
      "original/consolidated.00.pth",
    ]),
  );
});

it("makes a sentence transformer of the size asked for", () => {
  const files = sentenceTransformerRepo("acme/st", 400_000);
  expect(Math.abs((files["model.safetensors"] as Buffer).length / 400_000 - 1)).toBeLessThan(0.05);
  expect(files["README.md"]).toContain("license: apache-2.0");
  expect(Object.keys(files)).toEqual(expect.arrayContaining(["1_Pooling/config.json", "onnx/model.onnx", "vocab.txt"]));
});

it("makes GGUF files", () => {
  const file = ggufFile({ metadata: { "llama.block_count": 1 }, tensors: { w: { type: "F32", shape: [2, 4] } } });
  expect(file.subarray(0, 4).toString()).toBe("GGUF");
  expect([file.readUInt32LE(4), file.readBigUInt64LE(8), file.readBigUInt64LE(16)]).toEqual([3, 1n, 4n]);
  expect(file.length % 32).toBe(0);
  expect(Object.keys(ggufRepo("acme/tiny-GGUF", { quants: ["Q4_0", "Q8_0"] }))).toContain("tiny.Q4_0.gguf");
});
