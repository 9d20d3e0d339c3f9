import type { NoteLevel } from "./transfer/job.ts";

/** How one model comes in. */
export interface ModelProgress {
  onPlan(total: { bytes: number; presentBytes: number; files: number; revision: string }): void;
  onBytes(count: number): void;
  /** Bytes that another model or another tool has brought meanwhile. */
  onShared(count: number): void;
  /** Milliseconds for which another process was waited for, which was at the same model. */
  onLeaseWait?(waitedMs: number): void;
  onNote(message: string, level: NoteLevel): void;
}
