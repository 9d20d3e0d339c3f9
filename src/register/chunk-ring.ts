export interface Chunk {
  /** Its place among the chunks of an attempt, counted from 0. */
  cs: number;
  delta: unknown;
}

/** The chunks of one attempt that the coordinator may still lack, and how far they were sent. */
export interface ChunkRing {
  /** The place of the chunk that comes next. */
  readonly next: number;
  push(delta: unknown): void;
  /** The next one to send; null where all were sent. */
  take(): Chunk | null;
  /** The coordinator has this one and all before it: they are freed. What was not sent stays. */
  acknowledge(cs: number): void;
  /** Sending goes on with this one. Where it is not kept any more there are no more chunks. */
  rewind(cs: number): void;
  /** No more chunks are kept or sent: the final result has everything. */
  close(): void;
}

/** What a job may keep, in bytes of its chunks' frames. */
export const RING_BYTES = 4 * 1024 * 1024;
/** A chunk's frame without its delta, more or less. */
export const CHUNK_FRAME_BYTES = 200;

/** Keeps chunks until they are acknowledged, so that they survive their socket; over the limit the ring closes. */
export function createChunkRing(limitBytes = RING_BYTES): ChunkRing {
  let kept: { delta: unknown; bytes: number }[] = [];
  let next = 0;
  let sent = 0;
  let bytes = 0;
  let closed = false;
  const first = () => next - kept.length;

  const close = () => {
    closed = true;
    kept = [];
  };
  return {
    get next() {
      return next;
    },
    push(delta) {
      if (closed) return;
      const size = CHUNK_FRAME_BYTES + Buffer.byteLength(JSON.stringify(delta) ?? "");
      if (bytes + size > limitBytes) return close();
      kept.push({ delta, bytes: size });
      bytes += size;
      next += 1;
    },
    take() {
      const chunk = kept[sent - first()];
      if (!chunk) return null;
      sent += 1;
      return { cs: sent - 1, delta: chunk.delta };
    },
    acknowledge(cs) {
      const had = Math.min(cs + 1, sent) - first();
      for (const chunk of kept.splice(0, Math.max(0, had))) bytes -= chunk.bytes;
    },
    rewind(cs) {
      if (cs < first() || cs > next) close();
      else sent = cs;
    },
    close,
  };
}
