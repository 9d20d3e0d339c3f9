import { hasSystemCode, MusterError, toMusterError } from "../../errors.ts";
import type { PartialFile } from "../../store/partial-file.ts";
import { gaps, totalBytes } from "../../store/ranges.ts";
import { networkError } from "../http-errors.ts";
import { advance, type Claim } from "./claim.ts";
import type { ConnectionPool } from "./connection-pool.ts";
import type { DigestFeed } from "./digest-feed.ts";
import { delayFor, type SharedLimits } from "./limits.ts";
import { invalid, openRange, type RangeSource, type RangeWriter } from "./open-range.ts";
import type { Slot } from "./slots.ts";

export interface RangeContext {
  pool: ConnectionPool;
  limits: SharedLimits;
  signal: AbortSignal;
}

export interface RangeSink {
  partial: PartialFile;
  /** Null where nothing is digested. */
  digest: DigestFeed | null;
  /** Bytes that came in, wanted or not. */
  onReceived: (count: number) => void;
  /** Bytes of the file that the journal has now and had not before. */
  onNoted: (count: number) => void;
}

/**
 * Fetches a claim into the partial; its position says how far it came, also when this throws (MusterError, or the
 * system's error of the disk). `ignored` when the server sends whole files only.
 */
export async function fetchRange(
  source: RangeSource,
  claim: Claim,
  sink: RangeSink,
  { pool, limits, signal }: RangeContext,
): Promise<"done" | "ignored"> {
  const writer = new ClaimWriter(source, claim, sink, limits);
  const range = { start: claim.start, end: claim.askedEnd };
  try {
    if ((await openRange(source, range, writer, { pool, signal })) === "ignored") return "ignored";
  } catch (error) {
    if (error === ENOUGH) return "done";
    if (signal.aborted) throw toMusterError(signal.reason);
    throw isDiskError(error) ? error : networkError(error, source.direct ?? source.url);
  }
  if (claim.position < claim.end) throw endedEarly(source, claim);
  return "done";
}

/** The rest of the answer is not wanted any more. */
const ENOUGH = Symbol("enough");

/** Collects what lies side by side in a slot, and writes, notes and digests it in one go. */
class ClaimWriter implements RangeWriter {
  readonly #source: RangeSource;
  readonly #claim: Claim;
  readonly #sink: RangeSink;
  readonly #limits: SharedLimits;
  #slot: Slot | null = null;
  /** Of what is collected: where in the slot, and how much. */
  #from = 0;
  #length = 0;

  constructor(source: RangeSource, claim: Claim, sink: RangeSink, limits: SharedLimits) {
    this.#source = source;
    this.#claim = claim;
    this.#sink = sink;
    this.#limits = limits;
  }

  write(slot: Slot, bytes: Buffer): Promise<void> | null {
    const claim = this.#claim;
    claim.lastAt = performance.now();
    claim.begunAt ??= claim.lastAt;
    this.#sink.onReceived(bytes.length);
    const reached = claim.position + this.#length;
    if (reached + bytes.length > claim.askedEnd) {
      // Of what a server sent that does not keep to the range nothing more is kept.
      this.#drop();
      throw invalid(this.#source, `more bytes than the ${claim.askedEnd - claim.start} asked for`);
    }
    const wanted = Math.max(0, Math.min(bytes.length, claim.end - reached));
    const at = bytes.byteOffset - slot.bytes.byteOffset;
    if (this.#slot !== slot || this.#from + this.#length !== at) {
      this.flush();
      slot.retain();
      this.#slot = slot;
      this.#from = at;
    }
    this.#length += wanted;
    if (claim.position + this.#length >= claim.end && claim.end < claim.askedEnd) {
      this.flush();
      throw ENOUGH;
    }
    const delay = delayFor(bytes.length, this.#limits);
    // Shorter pauses than a few milliseconds cost more than they are worth; they add up in the clock.
    return delay > 5 ? new Promise((resolve) => setTimeout(resolve, delay)) : null;
  }

  flush(): Promise<void> | null {
    const [slot, from, length] = [this.#slot, this.#from, this.#length];
    if (!slot) return null;
    const { partial, digest, onNoted } = this.#sink;
    const start = this.#claim.position;
    try {
      this.#slot = null;
      this.#length = 0;
      const range = { start, end: start + length };
      // What another connection noted first stays: the digest may have it already, and would vouch for other bytes.
      const missing = gaps(partial.done, range);
      for (const gap of missing)
        partial.write(slot.bytes.subarray(from + gap.start - start, from + gap.end - start), gap.start);
      advance(this.#claim, start + length, performance.now());
      const isNew = totalBytes(missing) === length;
      onNoted(partial.note(range));
      return isNew && digest ? digest.offer(slot, from, range) : null;
    } finally {
      slot.release();
    }
  }

  #drop(): void {
    this.#slot?.release();
    this.#slot = null;
    this.#length = 0;
  }
}

function endedEarly(source: RangeSource, claim: Claim): MusterError {
  return new MusterError(
    "HOST_UNREACHABLE",
    `${new URL(source.direct ?? source.url).host} closed the connection after ${claim.position - claim.start} of ${claim.askedEnd - claim.start} bytes of ${source.name}.`,
    {
      hint: "It is tried again from there.",
    },
  );
}

/** Errors of the disk are for the caller, who knows the path. */
function isDiskError(error: unknown): boolean {
  return hasSystemCode(error, "ENOSPC", "EDQUOT", "EIO", "EROFS", "EFBIG", "ESTALE", "EBADF");
}
