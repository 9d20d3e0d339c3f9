import { DTYPE_BYTES, type Dtype, product, type Seed, tensorBytes } from "./weights.ts";

export type Tensors = Record<string, { dtype: Dtype; shape: number[] }>;

/** A safetensors file: u64 length of the header, the header as JSON, the data. */
export function safetensorsFile({ tensors, seed = 0 }: { tensors: Tensors; seed?: Seed }): Buffer {
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  const parts: Buffer[] = [];
  let at = 0;
  for (const [name, { dtype, shape }] of byWidth(tensors)) {
    // Each tensor has a seed of its own, so that it is the same in whichever shard it lands.
    const data = tensorBytes(dtype, product(shape), `${seed}/${name}`);
    header[name] = { dtype, shape, data_offsets: [at, at + data.length] };
    at += data.length;
    parts.push(data);
  }
  const json = JSON.stringify(header);
  const text = Buffer.from(json + " ".repeat((8 - (Buffer.byteLength(json) % 8)) % 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, ...parts]);
}

/** `model-00001-of-0000N.safetensors` and their index, cut where the bytes of the weights divide evenly. */
export function shardedSafetensors(options: {
  tensors: Tensors;
  shards: number;
  seed?: Seed;
  name?: string;
}): Record<string, Buffer> {
  const { tensors, shards, seed = 0, name = "model" } = options;
  const total = tensorsSize(tensors);
  const groups: Tensors[] = Array.from({ length: shards }, () => ({}));
  const weights: Record<string, string> = {};
  const fileName = (shard: number) => `${name}-${padded(shard + 1)}-of-${padded(shards)}.safetensors`;
  let before = 0;
  for (const [tensor, { dtype, shape }] of Object.entries(tensors)) {
    const size = product(shape) * DTYPE_BYTES[dtype];
    const shard = Math.min(shards - 1, Math.floor(((before + size / 2) / total) * shards));
    groups[shard]![tensor] = { dtype, shape };
    weights[tensor] = fileName(shard);
    before += size;
  }
  const index = JSON.stringify({ metadata: { total_size: total }, weight_map: weights }, null, 2);
  return {
    ...Object.fromEntries(groups.map((group, shard) => [fileName(shard), safetensorsFile({ tensors: group, seed })])),
    [`${name}.safetensors.index.json`]: Buffer.from(`${index}\n`),
  };
}

export function tensorsSize(tensors: Tensors): number {
  return Object.values(tensors).reduce((sum, { dtype, shape }) => sum + product(shape) * DTYPE_BYTES[dtype], 0);
}

/** Widest type first keeps every tensor aligned; this is the order of the safetensors library too. */
function byWidth(tensors: Tensors): [string, Tensors[string]][] {
  return Object.entries(tensors).sort(([, a], [, b]) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype]);
}

function padded(number: number): string {
  return String(number).padStart(5, "0");
}
