import { constants, copyFileSync, linkSync, realpathSync, rmSync, statSync } from "node:fs";
import { copyFile, mkdir } from "node:fs/promises";
import { MusterError } from "../../errors.ts";
import { partialPath } from "../../store/partial-file.ts";
import { volumeError } from "../../store/volume-error.ts";
import { digestMatches } from "./digest.ts";
import type { TransferJob } from "./job.ts";

type CopyJob = Extract<TransferJob, { kind: "copy" }>;

/**
 * Brings a file of a disk into its partial: by reflink, else by hard link, else byte for byte. Its digest is checked
 * wherever it came from.
 */
export async function copyFileChecked(
  job: CopyJob,
  onBytes: (count: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const target = partialPath(job.folder, job.digest);
  if (statSync(job.path, { throwIfNoEntry: false })?.size !== job.size) throw notThere(job);
  try {
    await mkdir(job.folder, { recursive: true });
    rmSync(target, { force: true });
    if (!reflink(job.path, target) && !hardLink(job.path, target)) await copyFile(job.path, target);
    if (!(await digestMatches({ path: target, size: job.size, digest: job.digest }, signal))) {
      rmSync(target, { force: true });
      throw new MusterError("DIGEST_MISMATCH", `${job.path} is not ${job.name}: its ${job.digest.algorithm} differs.`, {
        hint: "The copy there is damaged: take it away or copy it anew, then run `muster sync` again.",
      });
    }
    onBytes(job.size);
  } catch (error) {
    throw volumeError(error, job.folder);
  }
}

function reflink(from: string, to: string): boolean {
  try {
    copyFileSync(from, to, constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch {
    rmSync(to, { force: true });
    return false;
  }
}

function hardLink(from: string, to: string): boolean {
  try {
    // The file, not a link to it.
    linkSync(realpathSync(from), to);
    return true;
  } catch {
    return false;
  }
}

function notThere(job: CopyJob): MusterError {
  return new MusterError("FILE_NOT_FOUND", `${job.path} is not there, or not ${job.size} bytes long.`, {
    hint: "Mount the folder that holds it, or correct the path in the catalog.",
  });
}
