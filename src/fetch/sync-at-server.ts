import { MusterError } from "../errors.ts";
import type { StoredModel, Variant } from "../model.ts";
import { retry } from "../retry.ts";
import type { ModelSource } from "./hold-lease.ts";
import type { ModelProgress } from "./model-progress.ts";
import type { ModelServer } from "./model-server.ts";
import type { SyncContext } from "./sync-context.ts";

/** Makes a model complete at its server. No lease: two that ask for the same model share the server's download. */
export async function syncAtServer(
  spec: ModelSource,
  server: ModelServer,
  context: SyncContext,
  progress: ModelProgress,
): Promise<StoredModel> {
  const { variant, license } = spec;
  const once = async () => {
    const there = await server.find(variant, context.signal);
    if (there) return { ...there, license };
    if (context.offline) throw offlineMissing(variant, server);
    return pull(spec, server, context, progress);
  };
  return patiently(once, context, progress);
}

/** Takes a model that the server has to what its tag is now. */
export function updateAtServer(
  spec: ModelSource,
  server: ModelServer,
  context: SyncContext,
  progress: ModelProgress,
  before: string,
): Promise<StoredModel> {
  return patiently(() => pull(spec, server, context, progress, before), context, progress);
}

async function pull(
  { variant, license }: ModelSource,
  server: ModelServer,
  { signal, audit }: SyncContext,
  progress: ModelProgress,
  before?: string,
): Promise<StoredModel> {
  await server.pull(variant, progress, signal);
  const pulled = await server.find(variant, signal);
  if (pulled) {
    const { files, bytes } = pulled;
    const action = before === undefined ? "fetched" : "updated";
    const why = before === undefined ? undefined : `was at ${before}`;
    await audit?.note({ action, model: pulled, files, bytes, from: [variant.location], to: server.name, why });
    return { ...pulled, license };
  }
  throw new MusterError(
    "REVISION_NOT_FOUND",
    `${server.name} pulled ${variant.location} and has not got ${variant.revision} of it.`,
    {
      hint: "Set the variant's revision in the catalog to the digest that the tag has now, or leave it out.",
    },
  );
}

function patiently(
  once: () => Promise<StoredModel>,
  { ask, signal }: SyncContext,
  progress: ModelProgress,
): Promise<StoredModel> {
  return retry(once, {
    retries: ask.retries,
    minDelayMs: 500,
    maxDelayMs: 15_000,
    signal,
    onRetry(error, delay) {
      progress.onRetry?.(error.code);
      progress.onNote(`${error.message} Trying again in ${(delay / 1000).toFixed(1)} s`, "warn");
    },
  });
}

function offlineMissing({ location }: Variant, { name }: ModelServer): MusterError {
  return new MusterError("OFFLINE_MISSING", `${name} does not have ${location}, and HF_HUB_OFFLINE is set.`, {
    hint: "Run `muster sync` once with HF_HUB_OFFLINE unset, where the server has a network.",
  });
}
