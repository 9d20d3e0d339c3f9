import { join } from "node:path";
import { MusterError } from "../../errors.ts";
import type { StoredModel } from "../../model.ts";
import { parsePlace } from "../../place.ts";
import { DiskBudget } from "../disk-budget.ts";
import { publishedFolder } from "../published-model.ts";
import { keyOf } from "../s3/bucket-shelf.ts";
import type { SyncContext } from "../sync-context.ts";
import { bucketTarget } from "./bucket-target.ts";
import { folderTarget } from "./folder-target.ts";
import type { PushTarget } from "./push-target.ts";
import { UploadNotes } from "./upload-notes.ts";

export interface PushContext extends Pick<SyncContext, "openBucket" | "ask"> {
  /** Private to this worker. */
  stateFolder: () => Promise<string>;
}

/** Where the model goes below s3://bucket/prefix, a folder or a file:// URL. Throws USAGE. */
export async function openTarget(
  destination: string,
  model: StoredModel,
  { openBucket, ask, stateFolder }: PushContext,
): Promise<PushTarget> {
  const place = parsePlace(destination);
  const folder = publishedFolder(model);
  if (place?.kind === "path") {
    // The quota is about the volume; another disk only keeps the usual reserve.
    const disk = new DiskBudget({ minFreeBytes: null, maxCacheBytes: null, usedBytes: async () => 0 });
    return folderTarget(join(place.path, folder), disk);
  }
  if (place?.kind === "s3") {
    const bucket = await openBucket(place.bucket);
    const notes = new UploadNotes(stateFolder);
    return bucketTarget({ ...place, prefix: keyOf(place, folder) }, { bucket, notes, ask });
  }
  throw new MusterError("USAGE", `${JSON.stringify(destination)} is no place to push to.`, {
    hint: "Name one: `muster push MODEL s3://bucket/prefix`, or an absolute folder, or a file:// URL.",
  });
}
