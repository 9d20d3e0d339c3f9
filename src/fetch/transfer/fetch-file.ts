import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Dispatcher } from "undici";
import { MusterError } from "../../errors.ts";
import { fullJitter, retry } from "../../retry.ts";
import { PartialFile } from "../../store/partial-file.ts";
import { contiguousPrefix, missingRanges, type Range, totalBytes } from "../../store/ranges.ts";
import { volumeError } from "../../store/volume-error.ts";
import { FileDigest } from "./digest.ts";
import { fetchRange } from "./fetch-range.ts";
import type { LaneOptions, NoteLevel, TransferJob } from "./job.ts";
import type { RangeSource } from "./open-range.ts";
import type { Semaphore } from "./semaphore.ts";

/** Pieces of at least this size are worth a request of their own; a file is cut into a few pieces per connection. */
const LEAST_PIECE = 8 << 20;
const MOST_PIECE = 64 << 20;
const RETRIES = 8;

export interface FetchContext {
  options: LaneOptions;
  dispatcher: Dispatcher;
  /** One place per connection of this lane. */
  connections: Semaphore;
  signal: AbortSignal;
  onBytes: (count: number) => void;
  onNote: (message: string, level?: NoteLevel) => void;
}

type FetchJob = Extract<TransferJob, { kind: "fetch" }>;

/** Fetches what is missing of the file into its partial, checks the digest, and syncs it: ready to be committed. */
export async function fetchFile(job: FetchJob, context: FetchContext): Promise<void> {
  let partial: PartialFile;
  try {
    partial = PartialFile.open(job.folder, job.digest, job.size);
  } catch (error) {
    throw volumeError(error, job.folder);
  }
  try {
    const resumed = totalBytes(partial.done);
    if (resumed > 0) context.onNote(`Resuming ${job.name}: ${resumed} of ${job.size} bytes are there`, "info");
    const found = await fetchAndDigest(job, partial, context);
    if (found !== job.digest.hex) {
      startOver(job, partial, context);
      throw digestMismatch(job, found);
    }
    await partial.sync();
  } catch (error) {
    throw volumeError(error, job.folder);
  } finally {
    partial.close();
  }
}

async function fetchAndDigest(job: FetchJob, partial: PartialFile, context: FetchContext): Promise<string> {
  const digest = new FileDigest(partial.fd, job.digest, job.size);
  const local = new AbortController();
  const signal = AbortSignal.any([context.signal, local.signal]);
  let digesting = Promise.resolve();
  const work: PieceWork = {
    ...context,
    signal,
    source: toSource(job, context.options.userAgent),
    partial,
    onNoted: () => {
      digesting = digesting.then(() => digest.advance(contiguousPrefix(partial.done), signal));
      // A failure is met where the digest is awaited.
      digesting.catch(() => undefined);
    },
  };
  const pieceSize = Math.min(
    MOST_PIECE,
    Math.max(LEAST_PIECE, Math.ceil(job.size / (context.options.connections * 4))),
  );
  // All pieces end before this returns, whatever happened to one: they write to the file that is closed next.
  const outcomes = await Promise.allSettled(
    missingRanges(partial.done, job.size, pieceSize).map(async (piece) => {
      try {
        if ((await fetchPiece(piece, work)) === "ignored") throw RANGES_IGNORED;
      } catch (error) {
        local.abort(error);
        throw error;
      }
    }),
  );
  await digesting.catch(() => undefined);
  if (local.signal.aborted && local.signal.reason === RANGES_IGNORED && !context.signal.aborted) {
    context.onNote(
      `${new URL(work.source.direct ?? job.url).host} sends whole files only; fetching ${job.name} in one piece`,
    );
    return fetchWhole(job, { ...work, signal: context.signal, onNoted: () => undefined });
  }
  if (outcomes.some(({ status }) => status === "rejected")) throw local.signal.reason;
  await digest.advance(job.size, signal);
  return digest.finish();
}

/** Why the pieces of a file were given up: its server sends whole files whatever is asked for. */
const RANGES_IGNORED = Symbol("ranges ignored");

function toSource(job: FetchJob, userAgent: string): RangeSource {
  const { url, authorization, name, page, signed, size } = job;
  return { url, authorization, name, page, signed, size, userAgent, direct: null, etag: null };
}

interface PieceWork extends FetchContext {
  source: RangeSource;
  partial: PartialFile;
  onNoted: () => void;
}

/** What the disk refuses is told in the operator's words before it is taken for a failure of the network. */
async function attemptRange(range: Range, work: PieceWork): ReturnType<typeof fetchRange> {
  try {
    return await work.connections.run(() => {
      work.signal.throwIfAborted();
      return fetchRange(work.source, range, work, work);
    });
  } catch (error) {
    throw volumeError(error, dirname(work.partial.path));
  }
}

/** Retries with what is left of the piece. An attempt that brought bytes does not count. */
async function fetchPiece(piece: Range, work: PieceWork): Promise<"done" | "ignored"> {
  let rest = piece;
  return retry(
    async () => {
      for (;;) {
        const outcome = await attemptRange(rest, work);
        if (outcome === "ignored") return "ignored";
        rest = outcome.rest;
        if (rest.start === rest.end) return "done";
        if (outcome.failure) {
          work.onNote(outcome.failure.message);
          await sleep(fullJitter(1, 200, 200), undefined, { signal: work.signal });
        }
      }
    },
    {
      retries: RETRIES,
      minDelayMs: 500,
      maxDelayMs: 30_000,
      signal: work.signal,
      onRetry: (error, delay) => work.onNote(`${error.message} Trying again in ${(delay / 1000).toFixed(1)} s`),
    },
  );
}

/** For servers without ranges: the file from its first byte to its last, over again when it breaks. */
async function fetchWhole(job: FetchJob, work: PieceWork): Promise<string> {
  await retry(
    async () => {
      startOver(job, work.partial, work);
      const outcome = await attemptRange({ start: 0, end: job.size }, work);
      if (outcome === "ignored") throw new Error("a whole file is no range");
      if (outcome.failure) throw outcome.failure;
    },
    {
      retries: RETRIES,
      minDelayMs: 500,
      maxDelayMs: 30_000,
      signal: work.signal,
      onRetry: (error) => work.onNote(error.message),
    },
  );
  const digest = new FileDigest(work.partial.fd, job.digest, job.size);
  await digest.advance(job.size, work.signal);
  return digest.finish();
}

function startOver(job: FetchJob, partial: PartialFile, { onBytes }: Pick<FetchContext, "onBytes">): void {
  onBytes(-totalBytes(partial.done));
  partial.restart(job.digest, job.size);
}

function digestMismatch(job: FetchJob, found: string): MusterError {
  return new MusterError(
    "DIGEST_MISMATCH",
    `${job.name} came with the wrong ${job.digest.algorithm} digest: expected ${job.digest.hex}, got ${found}. It was dropped.`,
    {
      hint: "A mirror or proxy serves a broken copy: try another HF_ENDPOINT, then run `muster sync` again.",
    },
  );
}
