import type { StoredModel } from "../model.ts";
import type { AuditTrail } from "../store/audit/audit-trail.ts";
import { type KeptModel, supersededRevisions } from "../store/kept-revisions.ts";
import type { Layout } from "../store/layout.ts";
import { listManifests } from "../store/manifest.ts";
import { readPins } from "../store/pins.ts";
import { type RemovalOutcome, removeModel } from "../store/remove-model.ts";
import { holding, type ModelSource } from "./hold-lease.ts";
import type { ModelProgress } from "./model-progress.ts";
import { moveModel } from "./move-model.ts";
import type { FilePlan } from "./store-plan.ts";
import type { SyncContext } from "./sync-context.ts";

/** Takes a recorded model to another revision, under its lease; see {@link moveModel}. Throws MusterError. */
export function updateModel(
  { key }: StoredModel,
  { spec, plan }: { spec: ModelSource; plan: FilePlan },
  context: SyncContext,
  progress: ModelProgress,
): Promise<StoredModel> {
  return holding(spec, key, context, progress, (held, leased) => moveModel(plan, held, leased, progress));
}

export interface Trimmed {
  model: KeptModel;
  outcome: RemovalOutcome["outcome"];
}

/** Removes the revisions of a model beyond so many, but for what is pinned or a running worker may have loaded. */
export async function trimRevisions(
  layout: Layout,
  { key, keep, audit }: { key: string; keep: number; audit?: AuditTrail },
  signal: AbortSignal,
): Promise<Trimmed[]> {
  const pins = await readPins(layout);
  const records = (await listManifests(layout)).filter((record) => (record.kept?.of ?? record.key) === key);
  const trimmed: Trimmed[] = [];
  for (const model of supersededRevisions(records, { keep, isPinned: (each) => pins.has(each) })) {
    const why = "an earlier revision beyond KEEP_REVISIONS";
    const note = async () => audit?.note({ action: "pruned", model, files: model.files, why });
    const { outcome } = await removeModel(layout, model.key, signal, note);
    trimmed.push({ model, outcome });
  }
  return trimmed;
}
