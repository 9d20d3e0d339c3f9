import type { StoredModel } from "../model.ts";
import { isKept, keptKey, showRevision } from "../store/kept-revisions.ts";
import { isComplete, readManifest } from "../store/manifest.ts";
import type { HeldModel } from "./hold-lease.ts";
import type { ModelProgress } from "./model-progress.ts";
import { type FilePlan, planOf, refusePlan, storePlan } from "./store-plan.ts";
import type { SyncContext } from "./sync-context.ts";

/**
 * Makes this the model's revision. Of another one than it has, what differs is fetched beside that, and shown when it is
 * whole; the one before is kept. What is kept already needs no network. Throws MusterError.
 */
export async function moveModel(
  plan: FilePlan,
  held: HeldModel,
  context: SyncContext,
  progress: ModelProgress,
): Promise<StoredModel> {
  const { layout, signal } = context;
  refusePlan(held.spec, plan, context);
  const before = await readManifest(layout, held.key);
  if (!before) return storePlan(plan, held, context, progress);
  if (before.revision === plan.revision) {
    if (!(await isComplete(layout, before))) return storePlan(planOf(before), held, context, progress);
    // Other tools may have moved what shows it.
    await held.store.finish(before);
    return before;
  }
  const known = await readManifest(layout, keptKey(held.key, plan.revision));
  const isThere = known !== null && known.revision === plan.revision && (await isComplete(layout, known));
  const vouched = [...plan.vouched, before, ...(known ? [known] : [])];
  // Nobody can have used one that comes now.
  const why = known?.kept ?? { usedBy: [] };
  const revision = isThere ? known : await storePlan({ ...plan, vouched }, held, context, progress, why);
  if (!isKept(revision)) throw new Error(`${revision.key} is the record of no kept revision`);
  const shown = await showRevision(layout, revision, signal);
  await context.audit?.note({ action: "updated", model: shown, files: [], why: `was at ${before.revision}` });
  return shown;
}
