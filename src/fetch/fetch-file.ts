import { type MusterError, toMusterError } from "../errors.ts";
import type { FileSpec, Variant } from "../model.ts";
import type { ModelAt, ModelStore } from "../store/model-store.ts";
import { briefly } from "./ask.ts";
import { fetchStream } from "./fetch-stream.ts";
import type { ModelProgress } from "./model-progress.ts";
import type { FileOrigin, Origin } from "./origin.ts";
import type { SyncContext } from "./sync-context.ts";
import type { TransferJob } from "./transfer/job.ts";
import { tryOrigins, waitNote } from "./try-origins.ts";

/** The model that a file is of. */
export interface FileOwner {
  variant: Variant;
  model: ModelAt;
  store: ModelStore;
}

/** A link or token that is refused again and again, each time new, is not merely expired. */
const NEW_LINKS = 4;

/** Brings the file into its partial. Finished ranges stay there, so that the next origin goes on where the last one failed. */
export async function fetchFile(
  file: FileSpec,
  { variant, model, store }: FileOwner,
  context: SyncContext & { signal: AbortSignal },
  progress: ModelProgress,
): Promise<void> {
  const { signal } = context;
  const folder = store.ingest(variant.location);
  const origins = context.origins[variant.source];
  const fetchLocated = async (origin: Origin, isPatient: boolean): Promise<unknown> => {
    for (let attempt = 1; ; attempt += 1) {
      let hasMoved = false;
      const onBytes = (count: number) => {
        hasMoved ||= count > 0;
        progress.onBytes(count);
      };
      const from = await origin.locate(variant, model.revision, file, {
        ...(isPatient ? context.ask : briefly(context.ask)),
        signal,
      });
      const job = toJob(from, { name: `${variant.location}: ${file.path}`, file, folder, patient: isPatient });
      try {
        return await context.lanes.run(job, { signal, onBytes, onNote: progress.onNote, onRetry: progress.onRetry });
      } catch (error) {
        const failure = toMusterError(error);
        // A link that brought bytes was a good one: of a large file over a slow line several run out.
        if (hasMoved && failure.code === "REDIRECT_EXPIRED") attempt = 0;
        if (!worthAnother(failure, { attempt, isPatient, from })) throw error;
        progress.onRetry?.(failure.code);
        progress.onNote(`${failure.message} ${failure.hint}`, "warn");
      }
    }
  };
  const fetchFrom = async (origin: Origin, isPatient: boolean) => {
    try {
      await fetchLocated(origin, isPatient);
      progress.onOrigin?.(origin.name);
    } catch (error) {
      const failure = toMusterError(error);
      if (!isBrokenWay(failure) || !origin.fallback) throw error;
      const ask = { ...context.ask, signal };
      const stream = await origin.fallback(variant, model.revision, file, ask).catch(() => null);
      if (!stream) throw error;
      progress.onRetry?.(failure.code);
      progress.onNote(`${failure.message} Going on with ${stream.name}, which is slower`, "warn");
      const name = `${variant.location}: ${file.path}`;
      await fetchStream({ stream, name, file, folder }, context.lanes, { ...progress, signal });
      progress.onOrigin?.(stream.name);
    }
  };
  await tryOrigins(origins, fetchFrom, {
    signal,
    onFailover(error, next) {
      progress.onRetry?.(error.code);
      progress.onNote(`${error.message} Going on with ${next.name}`, "warn");
    },
    onWait: (origin, waitMs) => progress.onNote(waitNote(origin, waitMs), "warn"),
  });
  signal.throwIfAborted();
}

/** Whether the same origin is asked once more: for a new link or token, or because nobody else could serve a better copy. */
function worthAnother(
  { code }: MusterError,
  { attempt, isPatient, from }: { attempt: number; isPatient: boolean; from: FileOrigin },
): boolean {
  if (code === "ACCESS_REFUSED" || code === "TOKEN_INVALID")
    return from.kind === "http" && from.renewable === true && attempt < NEW_LINKS;
  if (code === "REDIRECT_EXPIRED") return from.kind === "http" && from.signed && attempt < NEW_LINKS;
  return code === "DIGEST_MISMATCH" && isPatient && attempt === 1;
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
