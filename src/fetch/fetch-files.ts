import { rm } from "node:fs/promises";
import { type MusterError, toMusterError } from "../errors.ts";
import type { FileSpec, Variant } from "../model.ts";
import type { ModelAt, ModelStore } from "../store/model-store.ts";
import { commitPartial } from "../store/partial-file.ts";
import { syncFiles } from "../store/sync-files.ts";
import { fetchStream } from "./fetch-stream.ts";
import { shareContent } from "./known-content.ts";
import type { ModelProgress } from "./model-progress.ts";
import type { FileOrigin, Origin } from "./origin.ts";
import type { SyncContext } from "./sync-context.ts";
import { isJournaled, type TransferJob } from "./transfer/job.ts";
import { tryOrigins } from "./try-origins.ts";

export interface FilesToFetch {
  variant: Variant;
  model: ModelAt;
  store: ModelStore;
  files: readonly FileSpec[];
  /** Bytes that are not in partials yet. */
  needBytes: number;
}

/** Files under way: enough for the connections of all lanes over small ones. */
const AT_ONCE = 64;
/** A link or token that is refused again and again, each time new, is not merely expired. */
const NEW_LINKS = 4;

/** Fetches the files and gives them their names, side by side; the first failure ends all. Throws MusterError. */
export async function fetchFiles(work: FilesToFetch, context: SyncContext, progress: ModelProgress): Promise<void> {
  if (work.files.length === 0) return;
  await work.store.prepare(work.model);
  const reservation = await context.disk.reserve(work.store.root, work.needBytes, work.variant.location);
  const local = new AbortController();
  const signal = context.signal ? AbortSignal.any([context.signal, local.signal]) : local.signal;
  const onBytes = (count: number) => {
    reservation.written(count);
    progress.onBytes(count);
  };
  try {
    const queue = work.files.toSorted((a, b) => b.size - a.size).values();
    const bringNext = async () => {
      for (const file of queue) {
        signal.throwIfAborted();
        await bringFile(file, work, { ...context, signal }, { ...progress, onBytes });
      }
    };
    // All end before this does, whatever happened to one.
    const lines = Array.from({ length: AT_ONCE }, () => bringNext().catch((error: unknown) => local.abort(error)));
    await Promise.all(lines);
    context.signal?.throwIfAborted();
    if (local.signal.aborted) throw local.signal.reason;
    const targets = work.files.map((file) => work.store.blob(work.model, file));
    const small = work.files.filter((file) => !isJournaled(file)).map((file) => work.store.blob(work.model, file));
    await syncFiles(small, targets).catch(async (error: unknown) => {
      // What the disk did not take must not be found under its name.
      await Promise.all(small.map((path) => rm(path, { force: true })));
      throw error;
    });
  } finally {
    reservation.release();
  }
}

/** Waits for another model's fetch of the same content where there is one, and shares that. */
async function bringFile(
  file: FileSpec,
  work: FilesToFetch,
  context: SyncContext & { signal: AbortSignal },
  progress: ModelProgress,
): Promise<void> {
  const folder = work.store.ingest(work.variant.location);
  const target = work.store.blob(work.model, file);
  const arriving = context.content.arriving(file.digest);
  const path = arriving ? await arriving.catch(() => null) : null;
  if (path !== null && (await shareContent({ file, path, folder, target }, context))) {
    progress.onBytes(file.size);
    return;
  }
  const fetched = fetchFile(file, work, context, progress).then(() =>
    commitPartial(folder, file.digest, target, { journaled: isJournaled(file) }),
  );
  context.content.announce(file, target, fetched);
  await fetched;
}

/** Leaves finished ranges in the partial, so that the next origin goes on where the last one failed. */
async function fetchFile(
  file: FileSpec,
  { variant, model, store }: FilesToFetch,
  context: SyncContext & { signal: AbortSignal },
  progress: ModelProgress,
): Promise<void> {
  const { signal } = context;
  const folder = store.ingest(variant.location);
  const origins = context.origins[variant.source];
  const fetchLocated = async (origin: Origin, isLast: boolean): Promise<unknown> => {
    for (let attempt = 1; ; attempt += 1) {
      let hasMoved = false;
      const onBytes = (count: number) => {
        hasMoved ||= count > 0;
        progress.onBytes(count);
      };
      const from = await origin.locate(variant, model.revision, file, { ...context.ask, signal });
      const job = toJob(from, { name: `${variant.location}: ${file.path}`, file, folder, patient: isLast });
      try {
        return await context.lanes.run(job, { signal, onBytes, onNote: progress.onNote });
      } catch (error) {
        const failure = toMusterError(error);
        // A link that brought bytes was a good one: of a large file over a slow line several run out.
        if (hasMoved && failure.code === "REDIRECT_EXPIRED") attempt = 0;
        if (!worthAnother(failure, { attempt, isLast, from })) throw error;
        progress.onNote(`${failure.message} ${failure.hint}`, "warn");
      }
    }
  };
  const fetchFrom = async (origin: Origin, isLast: boolean) => {
    try {
      await fetchLocated(origin, isLast);
    } catch (error) {
      const failure = toMusterError(error);
      if (!isBrokenWay(failure) || !origin.fallback) throw error;
      const ask = { ...context.ask, signal };
      const stream = await origin.fallback(variant, model.revision, file, ask).catch(() => null);
      if (!stream) throw error;
      progress.onNote(`${failure.message} Going on with ${stream.name}, which is slower`, "warn");
      const name = `${variant.location}: ${file.path}`;
      await fetchStream({ stream, name, file, folder }, context.lanes, { ...progress, signal });
    }
  };
  await tryOrigins(origins, fetchFrom, {
    signal,
    onFailover: (error, next) => progress.onNote(`${error.message} Going on with ${next.name}`, "warn"),
  });
  signal.throwIfAborted();
}

/** Whether the same origin is asked once more: for a new link or token, or because nobody else could serve a better copy. */
function worthAnother(
  { code }: MusterError,
  { attempt, isLast, from }: { attempt: number; isLast: boolean; from: FileOrigin },
): boolean {
  if (code === "ACCESS_REFUSED" || code === "TOKEN_INVALID")
    return from.kind === "http" && from.renewable === true && attempt < NEW_LINKS;
  if (code === "REDIRECT_EXPIRED") return from.kind === "http" && from.signed && attempt < NEW_LINKS;
  return code === "DIGEST_MISMATCH" && isLast && attempt === 1;
}

/** The source has the file and lets us have it, but its bytes do not come, or come wrong. */
function isBrokenWay({ code }: MusterError): boolean {
  return [
    "REDIRECT_EXPIRED",
    "SERVER_ERROR",
    "RESPONSE_INVALID",
    "HOST_UNREACHABLE",
    "TLS_FAILED",
    "STALLED",
    "DIGEST_MISMATCH",
  ].includes(code);
}

interface JobDetails {
  name: string;
  file: FileSpec;
  folder: string;
  /** No other origin is left to turn to. */
  patient: boolean;
}

function toJob(from: FileOrigin, { name, file, folder, patient }: JobDetails): TransferJob {
  const { size, digest } = file;
  if (from.kind === "path") return { kind: "copy", path: from.path, name, folder, size, digest };
  const { url, authorization, page, settings, signed } = from;
  return { kind: "fetch", url, authorization, page, settings, signed, name, folder, size, digest, patient };
}
