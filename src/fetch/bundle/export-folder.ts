import { createReadStream } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { MusterError } from "../../errors.ts";
import { hasSize } from "../../store/has-size.ts";
import { makeFolder } from "../../store/make-folder.ts";
import { commitPartial, syncFolder } from "../../store/partial-file.ts";
import { syncFiles } from "../../store/sync-files.ts";
import { writeFileDurably } from "../../store/write-durably.ts";
import { isJournaled } from "../transfer/job.ts";
import { type BundledModel, bundled, contentsOf, MANIFEST_NAME, parseBundle, showBundle } from "./bundle-manifest.ts";
import type { BundlePlan, PlannedContent } from "./bundle-plan.ts";
import { inWorkFolder } from "./export-lease.ts";
import { type ExportOptions, type ExportResult, targetBudget, targetError } from "./export-options.ts";
import { fillPartial } from "./fill-partial.ts";
import { readManifestText } from "./open-folder.ts";

const PIECE = 1 << 20;

/**
 * Writes the bundle unpacked, as `tar -x` would leave it. A folder that has one takes these models in addition: what it has
 * is not written again, and what no model of it needs any more goes. The manifest comes last. Throws MusterError.
 */
export async function exportFolder(plan: BundlePlan, folder: string, options: ExportOptions): Promise<ExportResult> {
  try {
    await makeFolder(join(folder, "blobs"));
    return await inWorkFolder(join(folder, ".muster-export"), options, (signal) =>
      fill(plan, folder, { ...options, signal }),
    );
  } catch (error) {
    throw targetError(error, folder);
  }
}

async function fill(plan: BundlePlan, folder: string, options: ExportOptions): Promise<ExportResult> {
  const { signal, onBytes } = options;
  const work = join(folder, ".muster-export");
  const before = await readManifestText(folder);
  const own = plan.models.map(bundled);
  const models = merge(before === null ? [] : parseBundle(before, folder).models, own);
  const missing: PlannedContent[] = [];
  for (const content of plan.contents)
    if (!(await hasSize(join(folder, content.name), content.file.size))) missing.push(content);
  const missingBytes = missing.reduce((sum, { file }) => sum + file.size, 0);
  (await targetBudget().reserve(folder, missingBytes, "The bundle")).release();
  options.onPlan(plan.contentBytes - missingBytes);
  for (const { name, path, file } of missing) {
    const read = async (from: number) => createReadStream(path, { start: from, highWaterMark: PIECE });
    const outcome = await fillPartial({ folder: work, file, read, signal, onBytes });
    if (outcome !== "right") throw damaged(path);
    await commitPartial(work, file.digest, join(folder, name), { journaled: isJournaled(file) });
  }
  const written = missing.map(({ name }) => join(folder, name));
  await syncFiles(
    written.filter((_, index) => !isJournaled(missing[index]!.file)),
    written,
  );
  const text = showBundle(models);
  if (text !== before) await writeFileDurably(join(folder, MANIFEST_NAME), text);
  const contents = contentsOf(models);
  await removeOthers(join(folder, "blobs"), new Set(contents.map(({ name }) => basename(name))));
  for (const name of (await readdir(work)).filter((each) => each !== "lease"))
    await rm(join(work, name), { force: true });
  const bytes = contents.reduce((sum, { size }) => sum + size, Buffer.byteLength(text));
  const files = [MANIFEST_NAME, ...contents.map(({ name }) => name)].map((name) => join(folder, name));
  return { files, bytes, writtenBytes: missingBytes };
}

function merge(before: readonly BundledModel[], own: readonly BundledModel[]): BundledModel[] {
  const models = new Map([...before, ...own].map((model) => [model.key, model]));
  return [...models.values()].toSorted((a, b) => (a.key < b.key ? -1 : 1));
}

async function removeOthers(folder: string, kept: ReadonlySet<string>): Promise<void> {
  // Only what is called as a content is one of ours.
  const others = (await readdir(folder)).filter(
    (name) => /^(sha256|git-sha1)-[0-9a-f]+$/.test(name) && !kept.has(name),
  );
  for (const name of others) await rm(join(folder, name), { force: true });
  if (others.length > 0) await syncFolder(folder);
}

function damaged(path: string): MusterError {
  return new MusterError("MODEL_DAMAGED", `${path} is not what its record says.`, {
    hint: "`muster verify --repair` fetches what is wrong anew; then run the same `muster export` again.",
  });
}
