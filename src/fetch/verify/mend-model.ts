import { lstat, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { StoredModel, Variant } from "../../model.ts";
import { storeOf } from "../../store/model-store.ts";
import type { ModelProgress } from "../model-progress.ts";
import { recordSource } from "../record-source.ts";
import type { SyncContext } from "../sync-context.ts";
import { repairModel } from "../sync-model.ts";
import type { WrongFile } from "./check-model.ts";

/**
 * Takes the wrong files away and fetches only them, under the model's lease. What another process has replaced meanwhile
 * stays. A kill leaves a model that lacks files, which the next sync brings. Throws MusterError.
 */
export async function mendModel(
  record: StoredModel,
  wrong: readonly WrongFile[],
  /** As the catalog has it; null where it does not. */
  variant: Variant | null,
  context: SyncContext,
  progress: ModelProgress,
): Promise<StoredModel> {
  const store = storeOf(context.layout, record.source);
  const discard = async () => {
    for (const { file, what, seen } of wrong) {
      if (seen && !(await isStill(seen))) continue;
      const [shown, blob] = [join(record.path, file.path), store.blob(record, file)];
      const content = await stat(blob).catch(() => null);
      if (seen && content?.ino === seen.ino) await rm(blob, { force: true });
      // Of a name that leads elsewhere the name is taken away, never what it leads to: that may be anybody's.
      else if (what !== "missing") await rm(shown, { force: true });
      const isLink = (await lstat(blob).catch(() => null))?.isSymbolicLink();
      if (what === "leads out of the volume" && isLink) await rm(blob, { force: true });
    }
  };
  return repairModel(record, { spec: recordSource(record, variant), discard }, context, progress);
}

async function isStill({ path, ino, size, mtimeMs }: NonNullable<WrongFile["seen"]>): Promise<boolean> {
  const found = await stat(path).catch(() => null);
  return found !== null && found.ino === ino && found.size === size && found.mtimeMs === mtimeMs;
}
