import { hasSystemCode, MusterError, toMusterError } from "../errors.ts";
import type { ModelSpec } from "../model.ts";
import type { AuditAction } from "../store/audit/entry.ts";
import { keepBallast } from "../store/ballast.ts";
import { acquireLease, type Lease } from "../store/lease.ts";
import { type ModelStore, storeOf } from "../store/model-store.ts";
import { volumeError } from "../store/volume-error.ts";
import type { fetchFiles } from "./fetch-files.ts";
import type { ModelProgress } from "./model-progress.ts";
import type { SyncContext } from "./sync-context.ts";

/** Where a model is had from, and what its record says of it besides. */
export type ModelSource = Pick<ModelSpec, "variant" | "license">;

/** A model that this process holds the lease of. */
export interface HeldModel {
  spec: ModelSource;
  /** Of its record. */
  key: string;
  store: ModelStore;
  lease: Lease;
  /** Brings files in the place of fetching them. */
  bring?: typeof fetchFiles;
  /** As the audit trail calls what is done; `fetched` where it is left out. */
  action?: AuditAction;
  /** Where `bring` has them from. */
  from?: string;
}

/** Where what was found in place is taken away meanwhile, by another tool or a removal. */
const ATTEMPTS = 3;

/**
 * Does the work as who writes the model; another that does is waited for, and may have done it. Done again where files went
 * away under it. Throws MusterError.
 */
export async function holding<Result>(
  spec: ModelSource,
  key: string,
  context: SyncContext,
  progress: ModelProgress,
  work: (held: HeldModel, context: SyncContext & { signal: AbortSignal }) => Promise<Result>,
): Promise<Result> {
  const { variant } = spec;
  const store = storeOf(context.layout, variant.source);
  const name = store.leaseName(variant.location);
  const startedAt = performance.now();
  let hasWaited = false;
  const lease = await acquireLease(context.layout.lease(name), {
    what: name,
    signal: context.signal,
    onWait: ({ host, since }) => {
      hasWaited = true;
      progress.onNote(`Waiting for ${host}, which has been fetching ${variant.location} since ${since}`, "info");
    },
  }).catch((error: unknown) => {
    throw volumeError(error, context.volume);
  });
  await keepBallast(context.layout);
  if (hasWaited) progress.onLeaseWait?.(performance.now() - startedAt);
  try {
    const signal = context.signal ? AbortSignal.any([context.signal, lease.lost]) : lease.lost;
    return await tried(spec, () => work({ spec, key, store, lease }, { ...context, signal }));
  } catch (error) {
    throw toMusterError(lease.lost.aborted ? lease.lost.reason : volumeError(error, context.volume));
  } finally {
    await lease.release();
  }
}

async function tried<Result>(spec: ModelSource, work: () => Promise<Result>): Promise<Result> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (cause) {
      const error = hasSystemCode(cause, "ENOENT") ? goneAway(String(cause.path), spec, cause) : cause;
      if (attempt === ATTEMPTS || toMusterError(error).code !== "STORE_CHANGED") throw error;
    }
  }
}

/** Another tool, or a removal of a model that shares the file, was quicker. */
export function goneAway(path: string, { variant }: ModelSource, cause?: unknown): MusterError {
  return new MusterError(
    "STORE_CHANGED",
    `${path} of ${variant.location} went away while the rest of it was fetched.`,
    {
      hint: "Run `muster sync` again.",
      cause,
    },
  );
}
