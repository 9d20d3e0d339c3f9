import type { JobKind } from "../../model.ts";
import type { JobErrorCode } from "../../protocol.ts";

/** What happens to jobs and is counted, beside their states. Called often; to be cheap. */
export interface Tally {
  /** A worker turned an offer down. */
  rejected(kind: JobKind, code: JobErrorCode): void;
  /** The lease of a job ran out, or its worker came back without it. */
  leaseLost(kind: JobKind): void;
  /** An attempt failed or was lost, and the job is back in the queue. */
  retried(kind: JobKind, code: JobErrorCode): void;
  /** A job was done, so long after its worker had accepted it. */
  ran(kind: JobKind, seconds: number): void;
  /**
   * A worker's result was taken: `committed` ended its job, `failed` may be followed by another attempt, `late` is of a
   * job that has ended, or is another attempt's.
   */
  result(became: "committed" | "failed" | "late"): void;
  /** The store has answered, or refused. */
  stored(operation: string, seconds: number): void;
}
