import { accessSync, closeSync, constants, existsSync, openSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { hasSystemCode, MusterError } from "../../errors.ts";

/** An error of SQLite. The low byte of `errcode` is what went wrong, the rest is particulars. */
export interface SqliteError extends Error {
  errcode: number;
  errstr: string;
}

/** https://sqlite.org/rescode.html */
export const SQLITE = {
  wrong: 1,
  busy: 5,
  readOnly: 8,
  ioError: 10,
  corrupt: 11,
  full: 13,
  cannotOpen: 14,
  notADatabase: 26,
} as const;

/** Opens a database and has it made ready; what is in the way is told in words. */
export function openDatabase(path: string, makeReady: (database: DatabaseSync) => void): DatabaseSync {
  let database: DatabaseSync | null = null;
  try {
    database = new DatabaseSync(path);
    makeReady(database);
    return database;
  } catch (error) {
    database?.close();
    throw isSqliteError(error) ? notOpened(path, error) : error;
  }
}

export function isSqliteError(error: unknown): error is SqliteError {
  return hasSystemCode(error, "ERR_SQLITE_ERROR") && "errcode" in error;
}

export function isOfKind({ errcode }: SqliteError, ...kinds: number[]): boolean {
  return kinds.includes(errcode & 0xff);
}

function notOpened(path: string, cause: SqliteError): MusterError {
  const file = resolve(path);
  if (isOfKind(cause, SQLITE.full)) {
    return new MusterError("DISK_FULL", `The database ${file} cannot be opened: its disk is full.`, {
      hint: `Free some room: \`df -h ${dirname(file)}\` shows how much there is.`,
      cause,
    });
  }
  const [why, hint] = obstacle(file, cause);
  return new MusterError("CONFIG_INVALID", `The database ${file} cannot be opened: ${why}.`, { hint, cause });
}

function obstacle(file: string, error: SqliteError): [why: string, hint: string] {
  const folder = dirname(file);
  if (isOfKind(error, SQLITE.busy)) {
    const hint = `See which with \`fuser -v ${file}\`. Several share their jobs in NATS: muster coordinator --store nats://HOST:4222`;
    return ["another coordinator has it", hint];
  }
  if (isOfKind(error, SQLITE.notADatabase, SQLITE.wrong, SQLITE.corrupt)) {
    const isOthers = isOfKind(error, SQLITE.wrong);
    const what = isOthers ? "it is another program's database" : "it is no SQLite database, or a damaged one";
    return [what, `Name a file of its own, or move this one away: mv ${file} ${file}.old`];
  }
  const elsewhere = "or name another file: muster coordinator --store ./jobs.db";
  if (!existsSync(folder)) return ["its folder does not exist", `Make it: mkdir -p ${folder}`];
  const refusal = refusalOf(file);
  if (refusal === "EISDIR") return ["it is a folder", `Name a file in it: muster coordinator --store ${file}/jobs.db`];
  if (refusal === "EROFS") return ["it is on a read-only file system", `Mount it writable, ${elsewhere}`];
  if (refusal) {
    return [
      `this user may not write it (${refusal})`,
      `See whose it is with \`ls -ld ${folder} ${file}\`, ${elsewhere}`,
    ];
  }
  return [error.errstr, `See what it is with \`ls -ld ${folder} ${file}\`, ${elsewhere}`];
}

/** Why the system does not let this file, or what SQLite puts beside it, be written: SQLite does not say. */
function refusalOf(file: string): string | null {
  try {
    closeSync(openSync(file, existsSync(file) ? "r+" : "a"));
    accessSync(dirname(file), constants.W_OK);
    return null;
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code);
  }
}
