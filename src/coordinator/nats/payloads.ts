import type { Layout } from "./layout.ts";
import type { NatsLink } from "./link.ts";

/** A value where it stands: with what it belongs to, or in pieces under a key of its own. */
export type Payload = { value: unknown } | { key: string; pieces: number };

/** Larger ones would be written again with each change of what they belong to. */
const INLINE_BYTES = 16 * 1024;

/** Values of any size, whatever NATS lets one message have. A key is never used for two of them. */
export class Payloads {
  readonly #link: NatsLink;
  readonly #layout: Layout;

  constructor(link: NatsLink, layout: Layout) {
    this.#link = link;
    this.#layout = layout;
  }

  async keep(value: unknown): Promise<Payload> {
    const text = JSON.stringify(value ?? null);
    if (text.length <= INLINE_BYTES && Buffer.byteLength(text) <= INLINE_BYTES) return { value: value ?? null };
    const { data, pieceBytes } = this.#layout;
    const bytes = Buffer.from(text);
    const key = crypto.randomUUID();
    const pieces = Math.ceil(bytes.length / pieceBytes);
    const piece = (n: number) => bytes.subarray(n * pieceBytes, (n + 1) * pieceBytes);
    for (let n = 0; n < pieces; n += 1) await data.put(`${key}.${n}`, piece(n));
    return { key, pieces };
  }

  /** Undefined where it is not there any more. */
  async read(payload: Payload): Promise<unknown> {
    if ("value" in payload) return payload.value;
    const { key, pieces } = payload;
    const numbers = Array.from({ length: pieces }, (_, n) => n);
    const entries = await Promise.all(numbers.map((n) => this.#layout.data.get(`${key}.${n}`)));
    const parts = entries.flatMap((entry) => (entry ? [entry.value] : []));
    return parts.length === pieces ? JSON.parse(Buffer.concat(parts).toString()) : undefined;
  }

  /** What is left behind goes with its time. */
  forget(payload: Payload | null): void {
    if (!payload || "value" in payload) return;
    const { jsm, names } = this.#link;
    const bucket = names.called("JOBDATA");
    void jsm.streams.purge(`KV_${bucket}`, { filter: `$KV.${bucket}.${payload.key}.*` }).catch(() => undefined);
  }
}
