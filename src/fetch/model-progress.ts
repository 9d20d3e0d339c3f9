import type { ErrorCode } from "../errors.ts";
import type { NoteLevel } from "./transfer/job.ts";

/** How one model comes in. */
export interface ModelProgress {
  onPlan(total: { bytes: number; presentBytes: number; files: number; revision: string }): void;
  /** Bytes that came; fewer than none where a file has to start over. */
  onBytes(count: number): void;
  /** Bytes that another model or another tool has brought, also before the plan. */
  onShared(count: number): void;
  /** A file came from there. */
  onOrigin?(name: string): void;
  /** Milliseconds for which another process was waited for, which was at the same model. */
  onLeaseWait?(waitedMs: number): void;
  /** An attempt at a file failed so, and is followed by another. */
  onRetry?(code: ErrorCode): void;
  onNote(message: string, level: NoteLevel): void;
}
