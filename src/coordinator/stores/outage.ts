import type { DatabaseSync } from "node:sqlite";
import { isOfKind, isSqliteError, SQLITE } from "./open-database.ts";
import { unavailable } from "./unavailable.ts";

/** Whether a database can be used: not from a failure of its disk on until a trial goes well. */
export interface Outage {
  /** Null where there is none. */
  reason(): string | null;
  /** The error to throw. One that the disk is to blame for begins an outage. */
  of(error: unknown): unknown;
  /** Ends it if it can. To be called often while it lasts. */
  tryAgain(): void;
}

/** With less room most jobs would fail again at once. */
const TRIAL_BYTES = 256 * 1024;
const OF_THE_DISK = [SQLITE.readOnly, SQLITE.ioError, SQLITE.full, SQLITE.cannotOpen];

export function watchOutages(database: DatabaseSync): Outage {
  let reason: string | null = null;
  const of = (error: unknown) => {
    if (!isSqliteError(error) || !isOfKind(error, ...OF_THE_DISK)) return error;
    const isFull = isOfKind(error, SQLITE.full);
    reason = isFull ? "The disk of the database is full" : `The database cannot be used (${error.errstr})`;
    return unavailable(reason, error);
  };
  return {
    reason: () => reason,
    of,
    tryAgain() {
      if (reason === null) return;
      try {
        // Committed each by itself: only then it is written.
        database.exec(
          `DROP TABLE IF EXISTS trial; CREATE TABLE trial AS SELECT zeroblob(${TRIAL_BYTES}) AS bytes; DROP TABLE trial;`,
        );
        reason = null;
      } catch (error) {
        of(error);
      }
    },
  };
}
