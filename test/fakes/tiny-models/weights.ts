import { createCipheriv, createHash } from "node:crypto";

export type Seed = string | number;

export type Dtype = "F64" | "F32" | "F16" | "BF16" | "I64" | "I32" | "I16" | "I8" | "U8" | "BOOL";

export const DTYPE_BYTES: Record<Dtype, number> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
};

/** The same bytes for the same seed, at the speed of AES. */
export function seededBytes(size: number, seed: Seed): Buffer {
  const key = createHash("sha256").update(String(seed)).digest();
  return createCipheriv("aes-128-ctr", key.subarray(0, 16), key.subarray(16)).update(Buffer.alloc(size));
}

/** Values of a tensor: random bits, with the exponent set so that every float is finite and about 0.01. */
export function tensorBytes(dtype: Dtype, count: number, seed: Seed): Buffer {
  const bytes = seededBytes(count * DTYPE_BYTES[dtype], seed);
  const width = DTYPE_BYTES[dtype];
  for (let top = width - 1; top < bytes.length; top += width) {
    if (dtype === "F16") bytes[top] = (bytes[top]! & 0x83) | 0x20;
    else if (dtype === "BF16" || dtype === "F32") bytes[top] = (bytes[top]! & 0x80) | 0x3c;
    else if (dtype === "F64") {
      bytes[top] = (bytes[top]! & 0x80) | 0x3f;
      bytes[top - 1] = (bytes[top - 1]! & 0x0f) | 0x80;
    } else if (dtype === "BOOL") bytes[top]! &= 1;
  }
  return bytes;
}

export function product(shape: number[]): number {
  return shape.reduce((all, size) => all * size, 1);
}
