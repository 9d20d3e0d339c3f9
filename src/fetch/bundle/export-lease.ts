import { rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { acquireLease } from "../../store/lease.ts";
import { makeFolder } from "../../store/make-folder.ts";
import { numberedFile } from "../../store/numbered-files.ts";
import type { ExportOptions } from "./export-options.ts";

/** Does the work in a folder beside the target that is nobody else's meanwhile, and takes the folder away where it is empty then. */
export async function inWorkFolder<T>(
  folder: string,
  { signal, onNote }: ExportOptions,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  await makeFolder(folder);
  const place = join(folder, "lease");
  const lease = await acquireLease(place, {
    what: "muster export",
    signal,
    onWait: ({ host, since }) => onNote(`Waiting for ${host}, which has been writing there since ${since}`, "info"),
  });
  try {
    return await work(AbortSignal.any([signal, lease.lost]));
  } finally {
    await lease.release();
    await rm(numberedFile(place, lease.number), { force: true });
    // Or else somebody has the next number, or there is something to go on with.
    for (const each of [place, folder]) await rmdir(each).catch(() => undefined);
  }
}
