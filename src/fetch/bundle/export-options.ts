import { MusterError } from "../../errors.ts";
import { volumeError } from "../../store/volume-error.ts";
import { DiskBudget } from "../disk-budget.ts";
import type { NoteLevel } from "../transfer/job.ts";

export interface ExportOptions {
  signal: AbortSignal;
  /** Bytes of contents that need not be written, known before the first one is. */
  onPlan(presentBytes: number): void;
  /** Bytes of contents. */
  onBytes(count: number): void;
  onNote(message: string, level: NoteLevel): void;
}

export interface ExportResult {
  /** All that makes up the bundle now. */
  files: string[];
  /** Bytes of those files. */
  bytes: number;
  /** Of them, what was written now; 0 where the bundle was there. */
  writtenBytes: number;
}

/** The quota is about the volume; another disk only keeps the usual reserve. */
export function targetBudget(): DiskBudget {
  return new DiskBudget({ minFreeBytes: null, maxCacheBytes: null, usedBytes: async () => 0 });
}

/** The words of the volume's errors, for the place that a bundle is written to. */
export function targetError(error: unknown, target: string): unknown {
  const failure = volumeError(error, target);
  if (!(failure instanceof MusterError)) return failure;
  if (failure.code !== "DISK_FULL" && !isTooLong(failure)) return failure;
  const hint = isTooLong(failure)
    ? "Split it: `--part-size 4GB` fits on FAT. Or use a file system without such a limit."
    : "Free space there, or split it with --part-size; then run the same `muster export` again: it goes on where it stopped.";
  return new MusterError(failure.code, failure.message, { hint, cause: failure, details: failure.details });
}

function isTooLong({ cause }: MusterError): boolean {
  return cause instanceof Error && "code" in cause && cause.code === "EFBIG";
}
