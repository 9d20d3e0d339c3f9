import type { DatabaseSync, SQLInputValue } from "node:sqlite";
import type { JobRecord } from "../jobs/job-record.ts";
import { createBatch } from "./batch.ts";
import { dayOf, type JobStore } from "./job-store.ts";
import { ended, kept, tokensIn } from "./kept-job.ts";
import { openDatabase } from "./open-database.ts";
import { watchOutages } from "./outage.ts";

/** Each brings a database to the next version. */
const MIGRATIONS = [
  `CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    model TEXT NOT NULL,
    input TEXT NOT NULL,
    stream INTEGER NOT NULL,
    retrySafe INTEGER NOT NULL,
    maxAttempts INTEGER NOT NULL,
    createdAt INTEGER NOT NULL,
    deadlineAt INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    workerId TEXT,
    outcome TEXT,
    finishedAt INTEGER
  ) STRICT;
  CREATE INDEX IF NOT EXISTS unfinished ON jobs (number) WHERE finishedAt IS NULL;`,
  `ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE jobs ADD COLUMN client TEXT;
  ALTER TABLE jobs ADD COLUMN attended INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE jobs ADD COLUMN keepInput INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE jobs ADD COLUMN digest TEXT NOT NULL DEFAULT '';
  CREATE INDEX finished ON jobs (finishedAt) WHERE finishedAt IS NOT NULL;
  CREATE INDEX byClient ON jobs (client, number);
  CREATE TABLE tokens (client TEXT NOT NULL, day TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (client, day)) STRICT;`,
  "CREATE INDEX byWorker ON jobs (workerId, number) WHERE finishedAt IS NOT NULL;",
];

const COLUMNS = [
  ...["id", "kind", "model", "input", "stream", "retrySafe", "maxAttempts", "priority", "client", "attended"],
  ...["keepInput", "digest", "createdAt", "deadlineAt", "state", "attempt", "failures", "workerId", "outcome"],
  "finishedAt",
];
const FLAGS = ["stream", "retrySafe", "attended", "keepInput"] as const;

/** Jobs in an SQLite database: a restart, a kill and a power cut lose none that was acknowledged. */
export function openSqliteStore(path: string): JobStore {
  const database = openDatabase(path, makeReady);
  const insert = database.prepare(
    `INSERT INTO jobs (${COLUMNS.join(", ")}) VALUES (${COLUMNS.map((name) => `:${name}`).join(", ")})
     ON CONFLICT (id) DO NOTHING`,
  );
  const get = database.prepare("SELECT * FROM jobs WHERE id = ?");
  const list = database.prepare(
    `SELECT * FROM jobs WHERE (:all OR client IS :client) AND (:state IS NULL OR state = :state)
       AND (:endedAt IS NULL OR workerId = :endedAt AND finishedAt IS NOT NULL)
       AND (:after IS NULL OR number < (SELECT number FROM jobs WHERE id = :after))
     ORDER BY number DESC LIMIT :limit`,
  );
  const unfinished = database.prepare("SELECT * FROM jobs WHERE finishedAt IS NULL ORDER BY number");
  const assign = database.prepare(
    "UPDATE jobs SET state = 'assigned', attempt = attempt + 1, workerId = ? WHERE id = ? AND state = 'queued' RETURNING *",
  );
  const release = database.prepare(
    `UPDATE jobs SET state = 'queued', workerId = NULL, failures = failures + ?
     WHERE id = ? AND attempt = ? AND state = 'assigned' RETURNING *`,
  );
  const end = database.prepare(
    "UPDATE jobs SET state = :state, outcome = :outcome, input = :input, finishedAt = :finishedAt WHERE id = :id",
  );
  const spend = database.prepare(
    `INSERT INTO tokens (client, day, count) VALUES (?, ?, ?)
     ON CONFLICT (client, day) DO UPDATE SET count = count + excluded.count`,
  );
  const spent = database.prepare("SELECT count FROM tokens WHERE client = ? AND day = ?");
  const forget = database.prepare("DELETE FROM jobs WHERE finishedAt < ?");
  const forgetTokens = database.prepare("DELETE FROM tokens WHERE day < ?");
  const outage = watchOutages(database);
  const batch = createBatch(database, outage);
  const read = async <T>(run: () => T): Promise<T> => {
    try {
      return run();
    } catch (error) {
      throw outage.of(error);
    }
  };
  return {
    insert: (job) => batch.add(() => insert.run(toRow(job)).changes === 1),
    get: (id) => read(() => fromRow(get.get(id))),
    list({ client, state = null, endedAt = null, after = null, limit }) {
      const filter = { all: Number(client === undefined), client: client ?? null, state, endedAt, after, limit };
      return read(() => list.all(filter).flatMap((row) => fromRow(row) ?? []));
    },
    unfinished: () => read(() => unfinished.all().flatMap((row) => fromRow(row) ?? [])),
    assign: (id, workerId) => batch.add(() => fromRow(assign.get(workerId, id))),
    release: (id, attempt, { failed }) => batch.add(() => fromRow(release.get(Number(failed), id, attempt))),
    commit: (id, attempt, outcome) =>
      batch.add(() => {
        const job = fromRow(get.get(id));
        const whole = job && ended(job, attempt, outcome);
        if (!whole) return null;
        const { input, state, outcome: shown, finishedAt } = toRow(kept(whole));
        end.run({ id, input: input!, state: state!, outcome: shown!, finishedAt: finishedAt! });
        const tokens = tokensIn(whole);
        if (whole.client !== null && tokens > 0) spend.run(whole.client, dayOf(Date.now()), tokens);
        return whole;
      }),
    tokensOf: (client, day) => read(() => Number(spent.get(client, day)?.count ?? 0)),
    prune: (before) =>
      batch.add(() => {
        forget.run(before);
        forgetTokens.run(dayOf(Date.now()));
      }),
    trouble: () => outage.reason(),
    tryAgain: () => outage.tryAgain(),
    async close() {
      batch.flush();
      database.close();
    },
  };
}

function makeReady(database: DatabaseSync): void {
  // It is this process's alone, or two would give the same jobs away. One that is about to end is waited for.
  database.exec("PRAGMA busy_timeout = 5000; PRAGMA locking_mode = EXCLUSIVE;");
  // A commit is on the disk before anybody hears of it.
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; BEGIN EXCLUSIVE; COMMIT;");
  const version = Number(database.prepare("PRAGMA user_version").get()?.user_version ?? 0);
  for (const [index, statements] of MIGRATIONS.entries()) {
    if (index >= version) database.exec(`BEGIN; ${statements} PRAGMA user_version = ${index + 1}; COMMIT;`);
  }
}

function toRow({ input, outcome, ...job }: JobRecord): Record<string, SQLInputValue> {
  const columns = { ...job, input: JSON.stringify(input ?? null), outcome: outcome && JSON.stringify(outcome) };
  const flags = Object.fromEntries(FLAGS.map((name) => [name, Number(job[name])]));
  return { ...(columns as Omit<typeof columns, (typeof FLAGS)[number]>), ...flags };
}

function fromRow(row: Record<string, unknown> | undefined): JobRecord | null {
  if (!row) return null;
  const { number: _number, input, outcome, ...job } = row;
  const flags = Object.fromEntries(FLAGS.map((name) => [name, job[name] === 1]));
  return {
    ...(job as Omit<JobRecord, "input" | "outcome">),
    ...flags,
    input: JSON.parse(String(input)),
    outcome: outcome === null ? null : JSON.parse(String(outcome)),
  };
}
