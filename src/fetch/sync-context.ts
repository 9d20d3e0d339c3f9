import type { AuditTrail } from "../store/audit/audit-trail.ts";
import type { DescribeContext } from "./describe.ts";
import type { DiskBudget } from "./disk-budget.ts";
import type { OpenBucket } from "./s3/open-bucket.ts";
import type { Lanes } from "./transfer/lanes.ts";

/** Everything that fetching models works with. */
export interface SyncContext extends DescribeContext {
  volume: string;
  lanes: Lanes;
  disk: DiskBudget;
  openBucket: OpenBucket;
  /** What is fetched is noted there. */
  audit?: AuditTrail;
  /** For how long another tool that holds the lock of a file is waited for; the usual time where it is left out. */
  toolWaitMs?: number;
}
