import type { Dispatcher } from "undici";
import { MusterError, toMusterError } from "../../errors.ts";
import type { PartialFile } from "../../store/partial-file.ts";
import type { Range } from "../../store/ranges.ts";
import { networkError } from "../http-errors.ts";
import { invalid, openRange, type RangeSource } from "./open-range.ts";

/** How much is written before the journal says so: the most that a kill costs on each connection. */
const NOTE_BYTES = 256 << 10;

export interface RangeSink {
  partial: PartialFile;
  /** Bytes that came in. */
  onBytes: (count: number) => void;
  /** The journal has grown. */
  onNoted: () => void;
}

/**
 * Fetches a range into the partial. Returns what is left of it: nothing, or the rest after a failure that came once
 * bytes had arrived (then trying again at once is right). `ignored` when the server sends whole files only.
 */
export async function fetchRange(
  source: RangeSource,
  range: Range,
  sink: RangeSink,
  { dispatcher, signal }: { dispatcher: Dispatcher; signal: AbortSignal },
): Promise<{ rest: Range; failure: MusterError | null } | "ignored"> {
  const opened = await openRange(source, range, dispatcher, signal);
  if (opened.rangeIgnored) return "ignored";
  let position = range.start;
  let noted = range.start;
  const note = () => {
    sink.partial.note({ start: noted, end: position });
    noted = position;
    sink.onNoted();
  };
  try {
    for await (const chunk of opened.body) {
      if (position + chunk.length > range.end) {
        opened.body.destroy();
        throw invalid(source, `more bytes than the ${range.end - range.start} asked for`);
      }
      sink.partial.write(chunk, position);
      position += chunk.length;
      sink.onBytes(chunk.length);
      if (position - noted >= NOTE_BYTES) note();
    }
  } catch (error) {
    const failure = signal.aborted ? toMusterError(signal.reason) : classify(error, source);
    // Of what a server sent that does not keep to the range nothing more is kept.
    if (failure.code === "RESPONSE_INVALID") {
      sink.onBytes(noted - position);
      position = noted;
    }
    note();
    if (position === range.start || !failure.retryable) throw failure;
    return { rest: { start: position, end: range.end }, failure };
  }
  note();
  if (position < range.end) {
    const failure = endedEarly(source, range, position);
    if (position === range.start) throw failure;
    return { rest: { start: position, end: range.end }, failure };
  }
  return { rest: { start: range.end, end: range.end }, failure: null };
}

function endedEarly(source: RangeSource, range: Range, position: number): MusterError {
  return new MusterError(
    "HOST_UNREACHABLE",
    `${new URL(source.direct ?? source.url).host} closed the connection after ${position - range.start} of ${range.end - range.start} bytes of ${source.name}.`,
    {
      hint: "It is tried again from there.",
    },
  );
}

function classify(error: unknown, source: RangeSource): MusterError {
  if (error instanceof MusterError) return error;
  const code = (error as NodeJS.ErrnoException).syscall === "write" && (error as NodeJS.ErrnoException).code;
  // Errors of the disk are for the caller, who knows the path.
  if (code && code !== "EPIPE" && code !== "ECONNRESET") throw error;
  return networkError(error, source.direct ?? source.url);
}
