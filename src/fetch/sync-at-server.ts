import { MusterError } from "../errors.ts";
import type { ModelSpec, StoredModel, Variant } from "../model.ts";
import { retry } from "../retry.ts";
import type { ModelProgress } from "./model-progress.ts";
import type { ModelServer } from "./model-server.ts";
import type { SyncContext } from "./sync-context.ts";

/** Makes a model complete at its server. No lease: two that ask for the same model share the server's download. */
export async function syncAtServer(
  { variant, license }: ModelSpec,
  server: ModelServer,
  { ask, offline, signal, audit }: SyncContext,
  progress: ModelProgress,
): Promise<StoredModel> {
  const once = async () => {
    const there = await server.find(variant, signal);
    if (there) return { ...there, license };
    if (offline) throw offlineMissing(variant, server);
    await server.pull(variant, progress, signal);
    const pulled = await server.find(variant, signal);
    if (pulled) {
      const { files, bytes } = pulled;
      await audit?.note({ action: "fetched", model: pulled, files, bytes, from: [variant.location], to: server.name });
      return { ...pulled, license };
    }
    throw new MusterError(
      "REVISION_NOT_FOUND",
      `${server.name} pulled ${variant.location} and has not got ${variant.revision} of it.`,
      {
        hint: "Set the variant's revision in the catalog to the digest that the tag has now, or leave it out.",
      },
    );
  };
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
