import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import type { JobRecord } from "../jobs/job-record.ts";
import type { JobStore } from "./job-store.ts";

const SCHEMA = `
CREATE TABLE IF NOT EXISTS jobs (
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
CREATE INDEX IF NOT EXISTS unfinished ON jobs (number) WHERE finishedAt IS NULL;
`;

/** Jobs in an SQLite database: a restart, a kill and a power cut lose none that was acknowledged. */
export function openSqliteStore(path: string): JobStore {
  const database = new DatabaseSync(path);
  // A commit is on the disk before anybody hears of it.
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;");
  database.exec(SCHEMA);
  const insert = database.prepare(
    `INSERT INTO jobs (id, kind, model, input, stream, retrySafe, maxAttempts, createdAt, deadlineAt, state, attempt,
       failures, workerId, outcome, finishedAt)
     VALUES (:id, :kind, :model, :input, :stream, :retrySafe, :maxAttempts, :createdAt, :deadlineAt, :state, :attempt,
       :failures, :workerId, :outcome, :finishedAt)
     ON CONFLICT (id) DO NOTHING`,
  );
  const get = database.prepare("SELECT * FROM jobs WHERE id = ?");
  const unfinished = database.prepare("SELECT * FROM jobs WHERE finishedAt IS NULL ORDER BY number");
  const assign = database.prepare(
    "UPDATE jobs SET state = 'assigned', attempt = attempt + 1, workerId = ? WHERE id = ? AND state = 'queued' RETURNING *",
  );
  const release = database.prepare(
    "UPDATE jobs SET state = 'queued', workerId = NULL, failures = failures + ? WHERE id = ? AND attempt = ? AND state = 'assigned'",
  );
  const commit = database.prepare(
    `UPDATE jobs SET state = :state, outcome = :outcome, finishedAt = :finishedAt, workerId = NULL
     WHERE id = :id AND attempt = :attempt AND finishedAt IS NULL`,
  );
  return {
    insert: (job) => insert.run(toRow(job)).changes === 1,
    get: (id) => fromRow(get.get(id)),
    unfinished: () => unfinished.all().flatMap((row) => fromRow(row) ?? []),
    assign: (id, workerId) => fromRow(assign.get(workerId, id)),
    release: (id, attempt, { failed }) => release.run(Number(failed), id, attempt).changes === 1,
    commit: (id, attempt, outcome) =>
      commit.run({ id, attempt, state: outcome.status, outcome: JSON.stringify(outcome), finishedAt: Date.now() })
        .changes === 1,
    close: () => database.close(),
  };
}

function toRow({ input, stream, retrySafe, outcome, ...job }: JobRecord): Record<string, SQLInputValue> {
  return {
    ...job,
    input: JSON.stringify(input ?? null),
    stream: Number(stream),
    retrySafe: Number(retrySafe),
    outcome: outcome && JSON.stringify(outcome),
  };
}

function fromRow(row: Record<string, unknown> | undefined): JobRecord | null {
  if (!row) return null;
  const { number: _number, input, stream, retrySafe, outcome, ...job } = row;
  return {
    ...(job as Omit<JobRecord, "input" | "stream" | "retrySafe" | "outcome">),
    input: JSON.parse(String(input)),
    stream: stream === 1,
    retrySafe: retrySafe === 1,
    outcome: outcome === null ? null : JSON.parse(String(outcome)),
  };
}
