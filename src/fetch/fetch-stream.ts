import { MusterError, toMusterError } from "../errors.ts";
import type { FileSpec } from "../model.ts";
import { retry } from "../retry.ts";
import { PartialFile } from "../store/partial-file.ts";
import { gaps, type Range, totalBytes } from "../store/ranges.ts";
import { volumeError } from "../store/volume-error.ts";
import type { ByteStream } from "./origin.ts";
import { isJournaled } from "./transfer/job.ts";
import type { Lanes, TransferCallbacks } from "./transfer/lanes.ts";
import { digestMismatch } from "./transfer/open-range.ts";

export interface StreamJob {
  stream: ByteStream;
  /** For error texts. */
  name: string;
  file: FileSpec;
  /** Folder of the partial. */
  folder: string;
}

type StreamCallbacks = TransferCallbacks & Required<Pick<TransferCallbacks, "signal" | "onBytes" | "onNote">>;

/** Bytes that are asked for at once: more than that no stream has to keep in memory. */
const PIECE_BYTES = 16 << 20;
/** Bytes between two lines of the journal. */
const NOTE_BYTES = 256 << 10;
/** Attempts that bring nothing, after the first. */
const RETRIES = 4;

/**
 * Brings what its partial lacks of a file by a stream, on this thread; one of the lanes checks the digest. Throws
 * MusterError; ranges that are finished stay.
 */
export async function fetchStream(job: StreamJob, lanes: Lanes, callbacks: StreamCallbacks): Promise<void> {
  const { digest, size } = job.file;
  const { signal, onBytes, onNote } = callbacks;
  const journaled = isJournaled(job.file);
  try {
    const partial = PartialFile.open(job.folder, digest, size, { journaled });
    try {
      const bringPiece = () => readPiece(job, partial, { ...callbacks, pace: (bytes) => lanes.pace(bytes, signal) });
      const onRetry = ({ message, code }: MusterError) => {
        callbacks.onRetry?.(code);
        onNote(message, "warn");
      };
      while (totalBytes(partial.done) < size)
        await retry(bringPiece, { retries: RETRIES, minDelayMs: 500, maxDelayMs: 30_000, signal, onRetry });
      const { algorithm, hex } = digest;
      const found = await lanes.run({ kind: "digest", path: partial.path, size, algorithm }, { signal });
      if (found !== hex) {
        onBytes(-size);
        partial.restart(digest, size);
        throw digestMismatch({ name: `${job.name} (by ${job.stream.name})`, digest }, String(found));
      }
      if (journaled) await partial.sync();
    } finally {
      partial.close();
    }
  } catch (error) {
    signal.throwIfAborted();
    throw volumeError(error, job.folder);
  }
}

/** The first piece that is missing, or some of it. */
async function readPiece(
  { stream, name, folder, file: { size } }: StreamJob,
  partial: PartialFile,
  { signal, onBytes, onNote, onRetry, pace }: StreamCallbacks & { pace: (bytes: number) => Promise<void> },
): Promise<void> {
  const [gap] = gaps(partial.done, { start: 0, end: size });
  if (!gap) return;
  const piece: Range = { start: gap.start, end: Math.min(gap.end, gap.start + PIECE_BYTES) };
  let position = piece.start;
  let noted = position;
  const note = () => {
    onBytes(partial.note({ start: noted, end: position }));
    noted = position;
  };
  try {
    for await (const bytes of stream.read(piece, signal)) {
      signal.throwIfAborted();
      if (position + bytes.length > piece.end) throw wrongLength(stream, name, "more");
      partial.write(bytes, position);
      position += bytes.length;
      if (position - noted >= NOTE_BYTES) note();
      await pace(bytes.length);
    }
    if (position < piece.end) throw wrongLength(stream, name, "fewer");
  } catch (cause) {
    signal.throwIfAborted();
    const error = toMusterError(volumeError(cause, folder));
    // What brought bytes is worth trying again at once.
    if (!error.retryable || position === piece.start) throw error;
    onRetry?.(error.code);
    onNote(error.message, "warn");
  } finally {
    note();
  }
}

function wrongLength(stream: ByteStream, name: string, what: "more" | "fewer"): MusterError {
  return new MusterError("RESPONSE_INVALID", `${stream.name} brought ${what} bytes of ${name} than there are.`, {
    hint: "It is tried again; if it stays so, try another HF_ENDPOINT.",
  });
}
