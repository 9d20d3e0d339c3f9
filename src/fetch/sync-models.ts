import { type ErrorCode, type MusterError, toMusterError } from "../errors.ts";
import type { ModelSpec, StoredModel } from "../model.ts";
import type { FetchEvent } from "../status.ts";
import { RateMeter } from "./rate-meter.ts";
import type { SyncContext } from "./sync-context.ts";
import { syncModel } from "./sync-model.ts";
import type { NoteLevel } from "./transfer/job.ts";

/** How far a model is; told whenever it changes, and a few times a second while bytes come in. */
export interface SyncProgress {
  spec: ModelSpec;
  state: "requested" | "fetching" | "stored" | "failed";
  bytesDone: number;
  bytesTotal: number;
  /** Bytes a second. */
  rate: number;
  revision: string;
  error: MusterError | null;
}

export interface SyncOutcome {
  spec: ModelSpec;
  stored: StoredModel | null;
  /** Bytes that came over the network now. */
  fetchedBytes: number;
  error: MusterError | null;
}

export interface SyncObserver {
  onProgress(progress: SyncProgress): void;
  /** A retry, a wait, a resume: for the log. */
  onNote(spec: ModelSpec, message: string, level: NoteLevel): void;
  /** Another process was waited for, which was at the same model. */
  onLeaseWait?(spec: ModelSpec, waitedMs: number): void;
  /** For who counts. */
  onFetchEvent?(spec: ModelSpec, event: FetchEvent): void;
}

/** Makes the models complete on the volume, side by side. Never throws for a model: its outcome says what went wrong. */
export function syncModels(
  specs: readonly ModelSpec[],
  context: SyncContext,
  observer: SyncObserver,
): Promise<SyncOutcome[]> {
  return Promise.all(specs.map((spec) => syncOne(spec, context, observer)));
}

async function syncOne(spec: ModelSpec, context: SyncContext, observer: SyncObserver): Promise<SyncOutcome> {
  const meter = new RateMeter();
  let fetchedBytes = 0;
  const progress: SyncProgress = {
    spec,
    state: "requested",
    bytesDone: 0,
    bytesTotal: 0,
    rate: 0,
    revision: spec.variant.revision,
    error: null,
  };
  const tell = (change: Partial<SyncProgress>) => observer.onProgress({ ...Object.assign(progress, change) });
  const note = (event: FetchEvent) => observer.onFetchEvent?.(spec, event);
  let begunAt: number | null = null;
  const end = (outcome: "stored" | ErrorCode) =>
    note({ type: "end", outcome, seconds: begunAt === null ? null : (performance.now() - begunAt) / 1000 });
  try {
    const stored = await syncModel(spec, context, {
      onPlan({ bytes, presentBytes, revision, files }) {
        if (files > 0) begunAt ??= performance.now();
        tell({ state: "fetching", bytesTotal: bytes, bytesDone: presentBytes, revision });
      },
      onBytes(count) {
        meter.add(count);
        fetchedBytes += Math.max(0, count);
        note({ type: "bytes", outcome: count < 0 ? "discarded" : "fetched", bytes: Math.abs(count) });
        tell({ bytesDone: progress.bytesDone + count, rate: meter.rate() });
      },
      onShared(count) {
        note({ type: "bytes", outcome: "shared", bytes: count });
        // What was shared before the plan is in it.
        if (progress.state === "fetching") tell({ bytesDone: progress.bytesDone + count });
      },
      onRetry: (code) => note({ type: "retry", code }),
      onLeaseWait: (waitedMs) => observer.onLeaseWait?.(spec, waitedMs),
      onNote: (message, level) => observer.onNote(spec, message, level),
    });
    // One that was complete already was no fetch.
    if (begunAt !== null) end("stored");
    tell({ state: "stored", bytesTotal: stored.bytes, bytesDone: stored.bytes, rate: 0, revision: stored.revision });
    return { spec, stored, fetchedBytes, error: null };
  } catch (cause) {
    const error = toMusterError(cause);
    end(error.code);
    tell({ state: "failed", rate: 0, error });
    return { spec, stored: null, fetchedBytes, error };
  }
}
