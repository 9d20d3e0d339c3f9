import { dirname, join } from "node:path";
import type { StoredModel } from "../model.ts";
import type { Layout } from "./layout.ts";
import { removeEmpty, removeUpTo, removeWhole } from "./remove-folders.ts";

/** Takes a model's folder away, whole and at once; where another record shows files of it, those stay. */
export async function unpublishFolder(
  { folders }: Layout,
  removed: StoredModel,
  kept: readonly StoredModel[],
  signal: AbortSignal,
): Promise<void> {
  const { source, location, revision, files } = removed;
  const folder = folders.model(source, location, revision);
  const sharers = kept.filter((other) => folders.model(other.source, other.location, other.revision) === folder);
  signal.throwIfAborted();
  if (sharers.length === 0) {
    await removeWhole(folder, folders.hidden(source, location, crypto.randomUUID()));
    await removeEmpty(dirname(folder));
    await removeEmpty(dirname(folders.ingest(source, location)));
    return;
  }
  const shown = new Set(sharers.flatMap((other) => other.files.map(({ path }) => path)));
  for (const { path } of files) if (!shown.has(path)) await removeUpTo(folder, join(folder, path));
}
