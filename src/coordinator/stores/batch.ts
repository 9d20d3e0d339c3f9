import type { DatabaseSync } from "node:sqlite";
import type { Outage } from "./outage.ts";

interface Change {
  run(): unknown;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** Changes of a database that share a transaction, and so its sync to the disk, when they come within a turn of the loop. */
export interface Batch {
  /** Resolves once it is on the disk. `run` may be run again where another change of its transaction failed. */
  add<T>(run: () => T): Promise<T>;
  /** Makes now what waits. */
  flush(): void;
}

export function createBatch(database: DatabaseSync, outage: Pick<Outage, "of">): Batch {
  let waiting: Change[] = [];
  let due: NodeJS.Immediate | null = null;

  const make = (changes: readonly Change[]) => {
    try {
      database.exec("BEGIN IMMEDIATE");
      const values = changes.map(({ run }) => run());
      database.exec("COMMIT");
      for (const [index, { resolve }] of changes.entries()) resolve(values[index]);
    } catch (error) {
      if (database.isTransaction) database.exec("ROLLBACK");
      // One of them is to blame: each by itself, so that the others are not lost with it.
      if (changes.length > 1) for (const change of changes) make([change]);
      else changes[0]?.reject(outage.of(error));
    }
  };
  const flush = () => {
    if (due) clearImmediate(due);
    due = null;
    const changes = waiting;
    waiting = [];
    if (changes.length > 0) make(changes);
  };
  return {
    add<T>(run: () => T) {
      const { promise, resolve, reject } = Promise.withResolvers<T>();
      waiting.push({ run, resolve: resolve as Change["resolve"], reject });
      due ??= setImmediate(flush);
      return promise;
    },
    flush,
  };
}
