import type { DescribeContext } from "./describe.ts";
import type { DiskBudget } from "./disk-budget.ts";
import type { KnownContent } from "./known-content.ts";
import type { NoteLevel } from "./transfer/job.ts";
import type { Lanes } from "./transfer/lanes.ts";

/** Everything that fetching models works with. */
export interface SyncContext extends DescribeContext {
  volume: string;
  lanes: Lanes;
  disk: DiskBudget;
  content: KnownContent;
}

export interface ModelProgress {
  onPlan(total: { bytes: number; presentBytes: number; files: number; revision: string }): void;
  onBytes(count: number): void;
  onNote(message: string, level: NoteLevel): void;
}
