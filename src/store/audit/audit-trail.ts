import { open, readdir, rename, rm, stat } from "node:fs/promises";
import { hostname, userInfo } from "node:os";
import { join } from "node:path";
import type { Config } from "../../config.ts";
import { ownContainer } from "../../container.ts";
import { hasSystemCode, toMusterError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import { redactData } from "../../redact.ts";
import { findAgent } from "../../state.ts";
import { type Layout, slug } from "../layout.ts";
import { makeFolder } from "../make-folder.ts";
import { syncFolder } from "../partial-file.ts";
import { volumeError } from "../volume-error.ts";
import { type AuditActor, type AuditEvent, toEntry } from "./entry.ts";

/** Bytes of a host's file before another is begun, and of all files together before the oldest go. */
const SIZES = { file: 4 << 20, all: 64 << 20 };
/** Containers have names of their own, each of which is a host here. */
const MOST_FILES = 1000;

/** Who did what to the volume: append-only lines of JSON, a file a host. */
export interface AuditTrail {
  /** Settles when the line is on the disk. Never throws: what cannot be written is warned of, once. */
  note(event: AuditEvent): Promise<void>;
}

export interface AuditOptions {
  layout: Pick<Layout, "audit">;
  config: Pick<Config, "workerId" | "stateDir">;
  log: Pick<Logger, "warn">;
  sizes?: typeof SIZES;
}

export function openAudit({ layout, config, log, sizes = SIZES }: AuditOptions): AuditTrail {
  let actor: Promise<AuditActor> | null = null;
  let isTold = false;
  // Lines of this process keep their order.
  let writing = Promise.resolve();
  const write = async (event: AuditEvent) => {
    try {
      actor ??= whoIsThis(config);
      const entry = toEntry(event, await actor);
      await append(layout.audit, `${JSON.stringify(redactData(entry))}\n`, sizes);
    } catch (error) {
      if (isTold) return;
      isTold = true;
      const { code, message } = toMusterError(volumeError(error, layout.audit));
      log.warn({ code }, `There is no audit trail of what this process does: ${message}`);
    }
  };
  return {
    note(event) {
      writing = writing.then(() => write(event));
      return writing;
    },
  };
}

async function whoIsThis({ workerId, stateDir }: AuditOptions["config"]): Promise<AuditActor> {
  const [container, agent] = await Promise.all([ownContainer(), workerId === null ? findAgent(stateDir) : null]);
  return {
    user: userName(),
    host: hostname(),
    container: container?.id ?? null,
    worker: workerId ?? agent?.workerId ?? null,
    command: process.argv[2] ?? null,
    pid: process.pid,
  };
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A number of which /etc/passwd knows nothing.
    return String(process.getuid?.() ?? "unknown");
  }
}

/** In the file of this host, or where that is another user's in one of this user. */
async function append(folder: string, line: string, sizes: typeof SIZES): Promise<void> {
  await makeFolder(folder);
  const name = slug(hostname());
  try {
    await appendTo(folder, name, line, sizes);
  } catch (error) {
    if (!hasSystemCode(error, "EACCES", "EPERM")) throw error;
    await appendTo(folder, `${name}-${process.getuid?.() ?? "user"}`, line, sizes);
  }
}

async function appendTo(folder: string, name: string, line: string, sizes: typeof SIZES): Promise<void> {
  const path = join(folder, `${name}.jsonl`);
  let size: number;
  {
    await using file = await open(path, "a+", 0o644);
    ({ size } = await file.stat());
    const last = Buffer.alloc(1);
    if (size > 0) await file.read(last, 0, 1, size - 1);
    // Somebody was killed, or the disk was full, in the middle of a line: it stays alone.
    const text = Buffer.from(size > 0 && last.toString() !== "\n" ? `\n${line}` : line);
    // In one go, at the end as the system knows it: two processes do not write into each other's lines.
    const { bytesWritten } = await file.write(text);
    if (bytesWritten < text.length) throw Object.assign(new Error("written in part"), { code: "ENOSPC" });
    await file.datasync();
  }
  if (size === 0) await syncFolder(folder);
  const isFull = size + line.length > sizes.file;
  // Under a name that nobody else gives: of two that do this at once one moves a small file.
  if (isFull) await rename(path, join(folder, `${name}.${crypto.randomUUID()}.jsonl`)).catch(() => undefined);
  if (isFull || size === 0) await dropOldest(folder, sizes.all);
}

/** The oldest files go until the rest is small enough; the latest stays. */
async function dropOldest(folder: string, most: number): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(".jsonl"));
  const files = await Promise.all(
    names.map(async (name) => ({ path: join(folder, name), found: await stat(join(folder, name)).catch(() => null) })),
  );
  const latestFirst = files
    .flatMap(({ path, found }) => (found ? [{ path, size: found.size, at: found.mtimeMs }] : []))
    .toSorted((a, b) => b.at - a.at);
  let total = 0;
  for (const [index, { path, size }] of latestFirst.entries()) {
    total += size;
    if (index > 0 && (total > most || index >= MOST_FILES)) await rm(path, { force: true });
  }
}
