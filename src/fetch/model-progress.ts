import type { NoteLevel } from "./transfer/job.ts";

/** How one model comes in. */
export interface ModelProgress {
  onPlan(total: { bytes: number; presentBytes: number; files: number; revision: string }): void;
  onBytes(count: number): void;
  /** Bytes that another model or another tool has brought meanwhile. */
  onShared(count: number): void;
  onNote(message: string, level: NoteLevel): void;
}
