import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { hasSystemCode } from "../errors.ts";
import type { JobRef } from "../job.ts";
import type { Logger } from "../log.ts";
import { isProcessRunning, ownProcess, type ProcessIdentity, processIdentity } from "../process-identity.ts";
import { coordinatorFrame, decodeFrame } from "../protocol.ts";
import { decodeResult, type JobResult } from "./job-result.ts";
import { type Journal, openJournal } from "./journal.ts";

/** Results until the coordinator has acknowledged them: of each job the newest, the one that waits longest first. */
export interface Outbox {
  readonly waiting: ReadonlyMap<string, JobResult>;
  /** False for one that was acknowledged, or has a later one in its place. */
  waits(result: JobResult): boolean;
  /** Takes the place of the job's older result. Settles once it stands on the disk, or cannot. Never rejects. */
  put(result: JobResult): Promise<void>;
  /** Without effect where this very attempt does not wait. */
  remove(ref: JobRef): void;
  close(): Promise<void>;
}

export interface OutboxOptions {
  /** Private to this worker; made if need be. */
  folder: string;
  log: Logger;
  /** Whose results these are; this process, where not given. */
  owner?: ProcessIdentity;
}

/** The first line of a journal; all others are frames: `job.result` for what came, `result.ack` for what went. */
const headSchema = z.object({ owner: processIdentity });

/**
 * Each process writes a journal of its own, so that nobody has to lock anything. What processes left that run no more is
 * taken over: first it stands in the new journal, then the old ones go. Where the disk takes nothing, results are kept in
 * memory only.
 */
export async function openOutbox({ folder, log, owner }: OutboxOptions): Promise<Outbox> {
  const head = JSON.stringify({ owner: owner ?? (await ownProcess()) });
  const waiting = new Map<string, JobResult>();
  const path = join(folder, `${crypto.randomUUID()}.jsonl`);
  const left = await readLeft(folder, log);
  for (const line of left.flatMap(({ lines }) => lines)) replay(line, waiting);

  const written = new WeakSet<JobResult>();
  const live = () => {
    for (const result of waiting.values()) written.add(result);
    return [head, ...[...waiting.values()].map(({ text }) => text)];
  };
  const journal = openJournal({ path, live, log });
  if (waiting.size > 0) log.info(`${waiting.size} results of an earlier process wait for the coordinator`);
  // The first line that is written brings what is live with it.
  if (waiting.size === 0 || (await journal.write(() => []))) {
    await Promise.all(left.map((journal) => rm(journal.path, { force: true }).catch(() => undefined)));
  }
  const outbox = createOutbox(journal, waiting, written);
  return {
    ...outbox,
    async close() {
      await outbox.close();
      if (waiting.size === 0) await rm(path, { force: true });
    },
  };
}

/** An outbox over a journal; `waiting` is what it begins with, `written` what the journal has taken. */
export function createOutbox(
  journal: Journal,
  waiting = new Map<string, JobResult>(),
  written = new WeakSet<JobResult>(),
): Outbox {
  const waits = (result: JobResult) => waiting.get(result.jobId) === result;
  return {
    waiting,
    waits,
    async put(result) {
      // Deleted first, so that it goes to the end.
      waiting.delete(result.jobId);
      waiting.set(result.jobId, result);
      // One that is acknowledged before its turn has come need not be written.
      await journal.write(() => {
        if (!waits(result)) return [];
        written.add(result);
        return [result.text];
      });
    },
    remove({ jobId, attempt }) {
      const result = waiting.get(jobId);
      if (result?.attempt !== attempt) return;
      waiting.delete(jobId);
      // If this line is lost the result is sent once more, and acknowledged once more.
      const line = JSON.stringify({ t: "result.ack", jobId, attempt });
      void journal.write(() => (written.has(result) ? [line] : []), { lazy: true });
    },
    close: () => journal.close(),
  };
}

interface Left {
  path: string;
  lines: string[];
}

/** The journals of processes that run no more. */
async function readLeft(folder: string, log: Logger): Promise<Left[]> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const names = (await readdir(folder)).filter((name) => /\.jsonl(\.tmp)?$/.test(name));
    const found = await Promise.all(names.map((name) => readJournal(join(folder, name))));
    return found.filter((journal) => journal !== null);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    log.warn({ code, folder }, "Results of an earlier process cannot be read");
    return [];
  }
}

async function readJournal(path: string): Promise<Left | null> {
  const content = await readFile(path).catch((error: unknown) => {
    // Another agent that started just now has taken it over.
    if (hasSystemCode(error, "ENOENT")) return Buffer.alloc(0);
    throw error;
  });
  const [head = "", ...lines] = linesOf(content);
  const owner = readHead(head);
  return owner === undefined || (await isProcessRunning(owner)) ? null : { path, lines };
}

/** Complete lines only: the last one of a process that was killed may be torn. */
function linesOf(content: Buffer): string[] {
  const lines: string[] = [];
  let start = 0;
  for (let end = content.indexOf(10); end >= 0; end = content.indexOf(10, start)) {
    lines.push(content.toString("utf8", start, end));
    start = end + 1;
  }
  return lines;
}

/** Undefined where it is no head: then it is not known whose journal this is, and it is left alone. */
function readHead(line: string): ProcessIdentity | undefined {
  try {
    return headSchema.parse(JSON.parse(line)).owner;
  } catch {
    return undefined;
  }
}

function replay(line: string, waiting: Map<string, JobResult>): void {
  const result = decodeResult(line);
  if (result) {
    if (result.attempt >= (waiting.get(result.jobId)?.attempt ?? 0)) waiting.set(result.jobId, result);
    return;
  }
  const decoded = decodeFrame(coordinatorFrame, line);
  if (!decoded.ok || decoded.frame.t !== "result.ack") return;
  const { jobId, attempt } = decoded.frame;
  if (waiting.get(jobId)?.attempt === attempt) waiting.delete(jobId);
}
