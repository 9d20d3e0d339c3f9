import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  fchmodSync,
  fsyncSync,
  linkSync,
  openSync,
  readSync,
  realpathSync,
  rmSync,
  type Stats,
  statSync,
  writeSync,
} from "node:fs";
import { mkdir } from "node:fs/promises";
import { setImmediate as nextTurn } from "node:timers/promises";
import { MusterError } from "../../errors.ts";
import { partialBytes, partialPath } from "../../store/partial-file.ts";
import { volumeError } from "../../store/volume-error.ts";
import { digestOfFile } from "./digest.ts";
import type { TransferJob } from "./job.ts";

type CopyJob = Extract<TransferJob, { kind: "copy" }>;

const BUFFER_BYTES = 1 << 20;

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
  const source = reading(job, () => statSync(job.path, { throwIfNoEntry: false }));
  if (source?.size !== job.size) throw notThere(job);
  try {
    await mkdir(job.folder, { recursive: true });
    // What another origin has sent of it was counted when it came.
    onBytes(-partialBytes(job.folder, job.digest, job.size));
    rmSync(target, { force: true });
    if (reflink(job.path, target) || (isLinkable(source) && hardLink(job.path, target))) onBytes(job.size);
    else await copyBytes(job, target, { onBytes, signal });
    const { algorithm, hex } = job.digest;
    if ((await digestOfFile({ path: target, size: job.size, algorithm }, signal)) !== hex) {
      rmSync(target, { force: true });
      onBytes(-job.size);
      throw new MusterError("DIGEST_MISMATCH", `${job.path} is not ${job.name}: its ${algorithm} differs.`, {
        hint: "The copy there is damaged: take it away or copy it anew, then run `muster sync` again.",
      });
    }
  } catch (error) {
    throw volumeError(error, job.folder);
  }
}

function reflink(from: string, to: string): boolean {
  try {
    copyFileSync(from, to, constants.COPYFILE_FICLONE_FORCE);
    chmodSync(to, 0o644);
    return true;
  } catch {
    rmSync(to, { force: true });
    return false;
  }
}

/** A linked file keeps owner and mode: nobody else may change it, and everybody may read it. */
function isLinkable({ uid, mode }: Stats): boolean {
  const user = process.geteuid?.();
  return (mode & 0o577) === 0o444 && (user === 0 || user === uid);
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

/** In small steps, so that a cancel is heard and progress is seen; synced, as a partial has to be. */
async function copyBytes(
  job: CopyJob,
  target: string,
  { onBytes, signal }: { onBytes: (count: number) => void; signal: AbortSignal },
): Promise<void> {
  const buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  const from = reading(job, () => openSync(job.path, "r"));
  let to = -1;
  try {
    to = openSync(target, "wx", 0o644);
    fchmodSync(to, 0o644);
    for (let position = 0; position < job.size; ) {
      const length = Math.min(BUFFER_BYTES, job.size - position);
      const count = reading(job, () => readSync(from, buffer, 0, length, position));
      // Cut short meanwhile: the digest will say so.
      if (count === 0) break;
      for (let written = 0; written < count; ) written += writeSync(to, buffer, written, count - written);
      position += count;
      onBytes(count);
      await nextTurn();
      signal.throwIfAborted();
    }
    fsyncSync(to);
  } finally {
    closeSync(from);
    if (to >= 0) closeSync(to);
  }
}

/** What the source's disk refuses is not this volume's fault, and another origin may have the file. */
function reading<T>(job: CopyJob, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    throw new MusterError("ACCESS_REFUSED", `${job.path} cannot be read (${code}).`, {
      hint: `Look at it as this user with \`head -c1 ${job.path} | wc -c\`; give the right to read it, or mount it anew.`,
      cause,
    });
  }
}

function notThere(job: CopyJob): MusterError {
  return new MusterError("FILE_NOT_FOUND", `${job.path} is not there, or not ${job.size} bytes long.`, {
    hint: "Mount the folder that holds it, or correct the path in the catalog.",
  });
}
