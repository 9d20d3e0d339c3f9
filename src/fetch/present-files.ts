import type { FileSpec } from "../model.ts";
import { hasSize } from "../store/has-size.ts";
import type { ModelAt, ModelStore } from "../store/model-store.ts";
import { findContent, shareContent } from "./known-content.ts";
import type { SyncContext } from "./sync-context.ts";

/** What of a model's files is on the volume already, under its own names or another model's. */

export interface PresenceQuestion {
  /** Or else the blobs are another tool's and are checked once. */
  trusted: boolean;
  store: ModelStore;
  model: ModelAt;
  context: SyncContext;
}

/** Those that stand where they belong, and are right. */
export async function presentFiles(
  files: readonly FileSpec[],
  { trusted, store, model, context }: PresenceQuestion,
): Promise<Set<FileSpec>> {
  const { lanes, signal } = context;
  const checks = files.map(async (file) => {
    const path = store.blob(model, file);
    if (!(await hasSize(path, file.size))) return null;
    const { algorithm, hex } = file.digest;
    const isRight =
      trusted || (await lanes.run({ kind: "digest", path, size: file.size, algorithm }, { signal })) === hex;
    return isRight ? file : null;
  });
  return new Set((await Promise.all(checks)).filter((file) => file !== null));
}

/** Takes from other models on the volume what they have too; gives what is still missing. */
export async function shareKnown(
  missing: FileSpec[],
  { store, model, context }: Omit<PresenceQuestion, "trusted">,
): Promise<FileSpec[]> {
  const known = await findContent(context.layout, missing);
  if (known.size > 0) await store.prepare(model);
  const shared = await Promise.all(
    missing.map((file) => {
      const path = known.get(file.digest.hex);
      const [folder, target] = [store.ingest(model.location), store.blob(model, file)];
      return path !== undefined && shareContent({ file, path, folder, target }, context);
    }),
  );
  return missing.filter((_, index) => !shared[index]);
}

/** Files of the same content are one blob, fetched once. */
export function distinct(files: readonly FileSpec[]): FileSpec[] {
  return [...new Map(files.map((file) => [file.digest.hex, file])).values()];
}
