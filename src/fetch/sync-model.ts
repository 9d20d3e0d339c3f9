import { type MusterError, toMusterError } from "../errors.ts";
import type { ModelSpec, StoredModel } from "../model.ts";
import { findComplete, manifestKey, readManifest } from "../store/manifest.ts";
import { type HeldModel, holding, type ModelSource } from "./hold-lease.ts";
import { lockedModel } from "./lock-file.ts";
import type { ModelProgress } from "./model-progress.ts";
import { isGone, lockedGone, moveToLocked } from "./move-to-locked.ts";
import { refuseLicense } from "./refuse-license.ts";
import { refusePickles } from "./refuse-pickles.ts";
import { newPlan, planOf, storePlan } from "./store-plan.ts";
import { syncAtServer } from "./sync-at-server.ts";
import type { SyncContext } from "./sync-context.ts";

/** Makes one model complete on the volume and gives its record. What is there already is not fetched; throws MusterError. */
export async function syncModel(spec: ModelSpec, context: SyncContext, progress: ModelProgress): Promise<StoredModel> {
  const { variant } = spec;
  const locked = context.lock ? lockedModel(await context.lock(), variant) : null;
  await refuseLicense(spec, context, locked?.revision);
  const server = context.servers?.[variant.source];
  if (server) {
    const wanted = { ...spec, variant: { ...variant, revision: locked?.revision ?? variant.revision } };
    return syncAtServer(wanted, server, context, progress).catch((cause: unknown) => {
      throw locked && isGone(toMusterError(cause)) ? lockedGone(locked, cause) : cause;
    });
  }
  const find = async () => {
    const complete = await findComplete(context.layout, variant);
    return locked && complete?.revision !== locked.revision ? null : complete;
  };
  const complete = await find();
  if (complete) {
    refusePickles(variant.location, complete.files, context.contentPolicy);
    return complete;
  }
  return holding(spec, manifestKey(variant), context, progress, async (held, leased) => {
    // While this one waited, the holder may have done it.
    const stored = await find();
    if (stored) return stored;
    return locked ? moveToLocked(locked, held, leased, progress) : storeModel(held, leased, progress);
  });
}

/**
 * Fetches again what `discard` takes away of a recorded model, under its lease; the same revision, and nothing else of it.
 * `spec`: where the record's model is had from.
 */
export async function repairModel(
  record: StoredModel,
  { spec, discard }: { spec: ModelSource; discard: () => Promise<void> },
  context: SyncContext,
  progress: ModelProgress,
): Promise<StoredModel> {
  const { kept, key } = record;
  return holding(spec, kept?.of ?? key, context, progress, async (held, leased) => {
    await discard();
    const current = (await readManifest(context.layout, key)) ?? record;
    return storePlan(planOf(current), { ...held, action: "repaired" }, leased, progress, current.kept);
  });
}

async function storeModel(held: HeldModel, context: SyncContext, progress: ModelProgress): Promise<StoredModel> {
  const { spec, key } = held;
  const record = await readManifest(context.layout, key);
  if (!record) return storePlan(await newPlan(spec, context), held, context, progress);
  try {
    return await storePlan(planOf(record), held, context, progress);
  } catch (error) {
    // What the record names may be gone from its source: a tag has moved on, a branch was written anew.
    if (!isGone(toMusterError(error))) throw error;
    const plan = await newPlan(spec, context);
    if (plan.revision === record.revision) throw error;
    progress.onNote(`${record.location} has moved from ${record.revision} to ${plan.revision}`, "warn");
    return storePlan(plan, held, context, progress);
  }
}

/** True for errors after which another attempt of the same kind is worth making by itself. */
export function isTransient(error: MusterError): boolean {
  return error.retryable || error.code === "DISK_FULL" || error.code === "QUOTA_EXCEEDED";
}
