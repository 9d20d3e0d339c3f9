import { setImmediate as nextTurn } from "node:timers/promises";
import type { FileSpec } from "../../model.ts";
import { PartialFile } from "../../store/partial-file.ts";
import { contiguousPrefix } from "../../store/ranges.ts";
import { FileDigest } from "../transfer/digest.ts";
import { isJournaled } from "../transfer/job.ts";

/** Bytes between two lines of the journal. */
const NOTE_BYTES = 256 << 10;
/** Digested without a turn for others: a few milliseconds. */
const TURN_BYTES = 4 << 20;

export interface Filling {
  /** Of partials. */
  folder: string;
  file: Pick<FileSpec, "size" | "digest">;
  /** Its bytes from there on; null where they cannot be had any more. */
  read: (from: number) => Promise<AsyncIterable<Uint8Array> | null>;
  /** They come by once, so that going on where an earlier process stopped saves nothing, and would trust what it wrote. */
  once?: boolean;
  signal: AbortSignal;
  /** Bytes that were not there before; negative where they are given up. */
  onBytes: (count: number) => void;
}

/**
 * Fills the partial of a file in order, from where an earlier process stopped, and digests what is written. Gives "right" for
 * what may be committed; "wrong" for what is not that file, of which nothing stays; "gone" where its bytes are not to be had.
 */
export async function fillPartial(filling: Filling): Promise<"right" | "wrong" | "gone"> {
  const { folder, file, onBytes, once = false } = filling;
  const { digest, size } = file;
  const journaled = isJournaled(file);
  const partial = PartialFile.open(folder, digest, size, { journaled });
  try {
    const kept = once ? 0 : contiguousPrefix(partial.done);
    let outcome = await fillFrom(kept, partial, filling);
    if (outcome === "wrong") {
      onBytes(-size);
      partial.restart(digest, size);
      // Perhaps it was what stood there: a power cut may have taken bytes that a journal tells of.
      if (kept > 0) outcome = await fillFrom(0, partial, filling);
      if (outcome === "wrong") {
        if (kept > 0) onBytes(-size);
        partial.restart(digest, size);
      }
    }
    if (outcome === "right" && journaled) await partial.sync();
    return outcome;
  } finally {
    partial.close();
  }
}

async function fillFrom(
  start: number,
  partial: PartialFile,
  { file: { digest, size }, read, signal, onBytes }: Filling,
): Promise<"right" | "wrong" | "gone"> {
  const content = await read(start);
  if (content === null) return "gone";
  const hash = new FileDigest(partial.fd, digest.algorithm, size);
  for (let end = 0; end < start; ) {
    end = Math.min(start, end + TURN_BYTES);
    hash.read(end);
    await nextTurn();
    signal.throwIfAborted();
  }
  let position = start;
  let noted = start;
  const note = () => {
    onBytes(partial.note({ start: noted, end: position }));
    noted = position;
  };
  try {
    for await (const bytes of content) {
      signal.throwIfAborted();
      if (position + bytes.length > size) return "wrong";
      partial.write(bytes, position);
      hash.update(bytes);
      position += bytes.length;
      if (position - noted >= NOTE_BYTES) note();
    }
  } finally {
    note();
  }
  return position === size && hash.finish() === digest.hex ? "right" : "wrong";
}
