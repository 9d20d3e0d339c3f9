import type { StoredModel } from "../model.ts";
import { type HeldModel, holding, type ModelSource } from "./hold-lease.ts";
import type { ModelProgress } from "./model-progress.ts";
import { moveModel } from "./move-model.ts";
import type { FilePlan } from "./store-plan.ts";
import type { SyncContext } from "./sync-context.ts";

export interface RecordedModel {
  /** Of its record. */
  key: string;
  spec: ModelSource;
  plan: FilePlan;
  /** Asked under the lease: whether it is to be stored still. */
  look: () => Promise<boolean>;
  bring: NonNullable<HeldModel["bring"]>;
  /** Where it has them from, for the audit trail. */
  from: string;
}

/**
 * Makes a model what somebody else's record says, as {@link moveModel} does, of bytes that `bring` has; null where `look` is
 * against it. Throws MusterError.
 */
export function storeRecord(
  { key, spec, plan, look, bring, from }: RecordedModel,
  context: SyncContext,
  progress: ModelProgress,
): Promise<StoredModel | null> {
  return holding(spec, key, context, progress, async (held, leased) =>
    (await look()) ? moveModel(plan, { ...held, bring, action: "imported", from }, leased, progress) : null,
  );
}
