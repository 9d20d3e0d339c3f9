import { toMusterError } from "../errors.ts";
import type { Architecture } from "../model.ts";

/** What a GGUF file says of its model, read from its first bytes: the metadata stands before the tensors. */

/** Truth values are 0 and 1. */
type GgufValue = number | string | number[];
type GgufMetadata = ReadonlyMap<string, GgufValue>;

/** Longer arrays are of the tokenizer; what is read here has a value a layer. */
const LONGEST_ARRAY = 4096;
const LONGEST_KEY = 1024;

/** Encoders: every token at once, nothing cached. */
const ENCODERS = /bert|^t5encoder$/;
/** Every so many layers one attends to everything, the others to a window; these do so without saying it. */
const WINDOW_PATTERN: Record<string, number> = { gemma2: 2, gemma3: 6, gptoss: 2, "gpt-oss": 2, cohere2: 4 };

/**
 * The architecture; null for what is no GGUF file or does not say, `"more"` where the bytes end too early. The tokenizer's
 * long lists come last, so what stands before them is usually all that is needed.
 */
export function readGguf(bytes: Uint8Array): Architecture | "more" | null {
  const metadata = new Map<string, GgufValue>();
  try {
    for (const [key, value] of entries(new Reader(bytes))) {
      if (key.startsWith("tokenizer.") && toArchitecture(metadata)) break;
      if (value !== null) metadata.set(key, value);
    }
  } catch (error) {
    if (error === ENDED) return "more";
    if (error === NO_GGUF) return null;
    throw error;
  }
  return toArchitecture(metadata);
}

/** The same from the metadata itself; null where what every model has is missing. */
export function toArchitecture(metadata: GgufMetadata): Architecture | null {
  const name = metadata.get("general.architecture");
  if (typeof name !== "string") return null;
  const list = (key: string) => [metadata.get(`${name}.${key}`) ?? []].flat().map(Number).filter(Number.isFinite);
  const positive = (key: string) => Math.max(0, ...list(key)) || null;
  const layers = positive("block_count");
  const heads = positive("attention.head_count");
  const hiddenSize = positive("embedding_length");
  if (!layers || !heads || !hiddenSize || layers > LONGEST_ARRAY) return null;
  const perLayer = list("attention.head_count_kv");
  const cached = cachedLayers(metadata, name, layers, perLayer);
  const window = positive("attention.sliding_window") ?? 0;
  const windowedLayers = window > 0 ? Math.min(cached, countWindowed(metadata, name, cached)) : 0;
  const latent = positive("attention.key_length_mla") ? positive("attention.kv_lora_rank") : null;
  return {
    attentionLayers: cached - windowedLayers,
    windowedLayers,
    window: windowedLayers > 0 ? window : 0,
    heads,
    kvHeads: positive("attention.head_count_kv") ?? heads,
    headDim: positive("attention.key_length") ?? Math.max(1, Math.floor(hiddenSize / heads)),
    hiddenSize,
    kvBytes: 2,
    latentDim: latent && latent + (positive("rope.dimension_count") ?? 0),
    maxContext: positive("context_length"),
    intermediateSize: positive("feed_forward_length"),
    quantizationGroup: null,
    dtype: null,
  };
}

/** Layers with a KV cache: not those of encoders, nor the recurrent ones of mixed models. */
function cachedLayers(metadata: GgufMetadata, name: string, layers: number, kvHeads: number[]): number {
  if (ENCODERS.test(name) || metadata.get(`${name}.attention.causal`) === 0) return 0;
  if (kvHeads.length > 1) return kvHeads.slice(0, layers).filter((count) => count > 0).length;
  const interval = Number(metadata.get(`${name}.full_attention_interval`));
  return interval > 1 ? Math.floor(layers / interval) : layers;
}

function countWindowed(metadata: GgufMetadata, name: string, layers: number): number {
  const said = metadata.get(`${name}.attention.sliding_window_pattern`);
  if (Array.isArray(said)) return said.slice(0, layers).filter(Boolean).length;
  const pattern = typeof said === "number" ? said : WINDOW_PATTERN[name];
  // Of others the engine keeps the whole context, whatever window the model was trained with.
  return pattern && pattern > 1 ? layers - Math.floor(layers / pattern) : 0;
}

const ENDED = Symbol("the bytes end");
const NO_GGUF = Symbol("this is no GGUF file");

const STRING = 8;
const ARRAY = 9;
/** Bytes of a value, by type; strings and arrays have none of their own. */
const SIZES: Record<number, number> = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };

/** Key and value of each pair, in the file's order; null for values that nobody needs. */
function* entries(reader: Reader): Generator<[string, GgufValue | null]> {
  if (reader.ascii(4) !== "GGUF") throw NO_GGUF;
  const version = reader.number(4);
  // Version 1 had shorter lengths and was soon given up; a big-endian file's version is no small number.
  if (version !== 2 && version !== 3) throw NO_GGUF;
  reader.number(10);
  const count = reader.number(10);
  for (let index = 0; index < count; index += 1) {
    const length = reader.number(10);
    if (length > LONGEST_KEY) throw NO_GGUF;
    const key = reader.ascii(length);
    const type = reader.number(4);
    yield [key, type === ARRAY ? readArray(reader) : readValue(reader, type)];
  }
}

function readValue(reader: Reader, type: number): number | string {
  if (type !== STRING) return reader.number(type);
  const length = reader.number(10);
  if (length <= LONGEST_KEY) return reader.ascii(length);
  reader.skip(length);
  return "";
}

function readArray(reader: Reader): number[] | null {
  const type = reader.number(4);
  const count = reader.number(10);
  if (type === STRING) {
    for (let index = 0; index < count; index += 1) reader.skip(reader.number(10));
    return null;
  }
  const size = SIZES[type];
  if (size === undefined) throw NO_GGUF;
  if (count <= LONGEST_ARRAY) return Array.from({ length: count }, () => reader.number(type));
  reader.skip(count * size);
  return null;
}

/** Little-endian, from the first byte to the last. */
class Reader {
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  skip(count: number): number {
    const start = this.#at;
    this.#at += count;
    if (this.#at > this.#view.byteLength) throw ENDED;
    return start;
  }

  ascii(length: number): string {
    const start = this.skip(length);
    return Buffer.from(this.#view.buffer, this.#view.byteOffset + start, length).toString("latin1");
  }

  /** A value of one of the file format's types of numbers; 7 is a truth value. */
  number(type: number): number {
    const size = SIZES[type];
    if (size === undefined) throw NO_GGUF;
    const at = this.skip(size);
    const view = this.#view;
    if (type === 6) return view.getFloat32(at, true);
    if (type === 12) return view.getFloat64(at, true);
    if (type === 10) return Number(view.getBigUint64(at, true));
    if (type === 11) return Number(view.getBigInt64(at, true));
    if (size === 4) return type === 5 ? view.getInt32(at, true) : view.getUint32(at, true);
    if (size === 2) return type === 3 ? view.getInt16(at, true) : view.getUint16(at, true);
    return type === 1 ? view.getInt8(at) : view.getUint8(at);
  }
}

/** Of many quantizations, and of a file in parts, the one whose head tells of all. */
export function ggufHead<File extends { path: string }>(files: readonly File[]): File | undefined {
  return files.find(({ path }) => /\.gguf$/i.test(path) && !/mmproj|-(?!00001)\d{5}-of-/i.test(path));
}

/** Bytes asked for, one after the other: nearly always the first are enough. */
const HEADER_BYTES = [64 << 10, 1 << 20, 8 << 20];

/**
 * Asks for as much of a file's beginning as it takes; null where that says nothing, or where the source refuses it: the
 * file itself may be had all the same. Throws what passes by itself.
 */
export async function readGgufStart(
  size: number,
  start: (length: number) => Promise<Uint8Array>,
): Promise<Architecture | null> {
  try {
    for (const length of HEADER_BYTES) {
      if (size === 0) return null;
      const found = readGguf(await start(Math.min(length, size)));
      if (found !== "more") return found;
      if (length >= size) return null;
    }
  } catch (error) {
    if (toMusterError(error).retryable) throw error;
  }
  return null;
}
