import { product, type Seed, seededBytes, tensorBytes } from "./weights.ts";

export type GgufType = "F32" | "F16" | "BF16" | "Q4_0" | "Q8_0" | "Q4_K" | "Q6_K";

/** Whole numbers become u32 (u64, i32 where needed), others f32; `{ f32: 10000 }` forces a float. */
export type GgufValue = string | boolean | number | { f32: number } | string[] | number[] | { f32s: number[] };

export interface GgufSpec {
  /** Over `general.architecture`, `general.name` and `general.alignment`, which are always there. */
  metadata?: Record<string, GgufValue>;
  /** Shapes as in safetensors, slowest dimension first; the file holds them reversed. */
  tensors: Record<string, { type: GgufType; shape: number[] }>;
  seed?: Seed;
}

const ALIGNMENT = 32;

/** ggml's number of a type, the values in a block of it, the block's bytes, and where its f16 scales stand. */
const TYPES: Record<GgufType, { id: number; values: number; bytes: number; scales: number[] }> = {
  F32: { id: 0, values: 1, bytes: 4, scales: [] },
  F16: { id: 1, values: 1, bytes: 2, scales: [] },
  Q4_0: { id: 2, values: 32, bytes: 18, scales: [0] },
  Q8_0: { id: 8, values: 32, bytes: 34, scales: [0] },
  Q4_K: { id: 12, values: 256, bytes: 144, scales: [0, 2] },
  Q6_K: { id: 14, values: 256, bytes: 210, scales: [208] },
  BF16: { id: 30, values: 1, bytes: 2, scales: [] },
};

/** A GGUF file, version 3. */
export function ggufFile({ metadata = {}, tensors, seed = 0 }: GgufSpec): Buffer {
  const values: Record<string, GgufValue> = {
    "general.architecture": "llama",
    "general.name": "tiny",
    "general.alignment": ALIGNMENT,
    ...metadata,
  };
  const infos: Buffer[] = [];
  const data: Buffer[] = [];
  let offset = 0;
  for (const [name, { type, shape }] of Object.entries(tensors)) {
    const dimensions = shape.toReversed().map((size) => u64(size));
    infos.push(text(name), u32(shape.length), ...dimensions, u32(TYPES[type].id), u64(offset));
    const bytes = aligned(blocks(type, shape, `${seed}/${name}`));
    data.push(bytes);
    offset += bytes.length;
  }
  const counts = [u64(Object.keys(tensors).length), u64(Object.keys(values).length)];
  const pairs = Object.entries(values).flatMap(([key, value]) => [text(key), ...typed(value)]);
  return Buffer.concat([aligned(Buffer.concat([Buffer.from("GGUF"), u32(3), ...counts, ...pairs, ...infos])), ...data]);
}

/** Rows of a tensor are a multiple of this. */
export function valuesInBlock(type: GgufType): number {
  return TYPES[type].values;
}

function blocks(type: GgufType, shape: number[], seed: Seed): Buffer {
  if (type === "F32" || type === "F16" || type === "BF16") return tensorBytes(type, product(shape), seed);
  const { values, bytes, scales } = TYPES[type];
  if (shape.at(-1)! % values !== 0) throw new Error(`${type} rows are a multiple of ${values}, not ${shape.at(-1)}`);
  const data = seededBytes((product(shape) / values) * bytes, seed);
  for (let block = 0; block < data.length; block += bytes) {
    // Random bits as a scale could be infinite; the top byte 0x0c makes it about 0.0002.
    for (const at of scales) data[block + at + 1] = 0x0c;
  }
  return data;
}

function typed(value: GgufValue): Buffer[] {
  if (Array.isArray(value)) {
    const isText = value.every((item) => typeof item === "string");
    const items = value.map((item) => (isText ? text(String(item)) : i32(Number(item))));
    return [u32(9), u32(isText ? 8 : 5), u64(value.length), ...items];
  }
  if (typeof value === "string") return [u32(8), text(value)];
  if (typeof value === "boolean") return [u32(7), Buffer.from([value ? 1 : 0])];
  if (typeof value === "object") {
    if ("f32" in value) return [u32(6), f32(value.f32)];
    return [u32(9), u32(6), u64(value.f32s.length), ...value.f32s.map(f32)];
  }
  if (!Number.isInteger(value)) return [u32(6), f32(value)];
  if (value < 0) return [u32(5), i32(value)];
  return value <= 0xffffffff ? [u32(4), u32(value)] : [u32(10), u64(value)];
}

function aligned(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((ALIGNMENT - (bytes.length % ALIGNMENT)) % ALIGNMENT)]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function i32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function f32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}
