import { open, readdir, readFile, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { hasSystemCode, MusterError } from "../errors.ts";
import { isProcessGone, ownProcess, processIdentity } from "../process-identity.ts";
import { makeFolder } from "./make-folder.ts";

/**
 * A lock on the shared volume. A lease is a folder of numbered files; the holder is who created the highest number,
 * with exclusive create. Numbers only rise, so that two waiters cannot both take over, and nobody removes another's
 * lease by mistake. The holder renews a counter; a waiter that sees it unchanged for `expiryMs` on its own monotonic
 * clock takes the next number, so that skewed clocks do not matter. Only bytes depend on a lease, never correctness:
 * files are committed by an atomic rename of digest-checked content.
 */
export interface Lease {
  /** Aborted when another has taken over (this process was frozen, or the volume was away). */
  readonly lost: AbortSignal;
  release(): Promise<void>;
}

export interface LeaseHolder {
  host: string;
  what: string;
  /** RFC 3339, by the holder's clock; for people only. */
  since: string;
}

export interface LeaseOptions {
  what: string;
  signal?: AbortSignal;
  /** Called when the lease is held by another, once per holder. */
  onWait?: (holder: LeaseHolder) => void;
  beatMs?: number;
  expiryMs?: number;
  pollMs?: number;
}

const contentSchema = z.object({
  token: z.string(),
  holder: z.object({ host: z.string(), what: z.string(), since: z.string() }),
  process: processIdentity,
  beat: z.number(),
  released: z.boolean(),
});
type Content = z.output<typeof contentSchema>;
const CONTENT_LENGTH = 1024;

/** Waits until the lease is free, released, or its holder is gone, and takes it. */
export async function acquireLease(folder: string, options: LeaseOptions): Promise<Lease> {
  const { signal, pollMs = 250, expiryMs = 15_000 } = options;
  await makeFolder(folder);
  let seen: string | null = "";
  let unchangedMs = 0;
  let lookedAt = performance.now();
  let announced = "";
  for (;;) {
    signal?.throwIfAborted();
    const number = await highestNumber(folder);
    const text = number === 0 ? null : await readFile(fileOf(folder, number), "utf8").catch(() => "");
    // Of the time since the last look only so much counts: a waiter that was itself frozen has not been watching.
    const sinceLook = Math.min(performance.now() - lookedAt, pollMs * 4);
    lookedAt = performance.now();
    unchangedMs = text === seen ? unchangedMs + sinceLook : 0;
    seen = text;
    const content = text === null ? null : parseContent(text);
    if (
      text === null ||
      content?.released ||
      (content && (await isProcessGone(content.process))) ||
      unchangedMs > expiryMs
    ) {
      const lease = await take(folder, number + 1, options);
      if (lease) return lease;
      continue;
    }
    if (content && content.token !== announced) {
      announced = content.token;
      options.onWait?.(content.holder);
    }
    await sleep(pollMs, undefined, { signal });
  }
}

async function take(folder: string, number: number, options: LeaseOptions): Promise<Lease | null> {
  const content: Content = {
    token: crypto.randomUUID(),
    holder: { host: hostname(), what: options.what, since: new Date().toISOString() },
    process: await ownProcess(),
    beat: 0,
    released: false,
  };
  try {
    await writeContent(fileOf(folder, number), "wx", content);
  } catch (error) {
    if (hasSystemCode(error, "EEXIST")) return null;
    // Created and not written, on a full disk: others would wait for nobody.
    await rm(fileOf(folder, number), { force: true });
    throw error;
  }
  if ((await highestNumber(folder)) !== number) {
    // What made this number the next was seen long ago: others had it, and cleared it away, since.
    await rm(fileOf(folder, number), { force: true });
    return null;
  }
  await removeBelow(folder, number);
  return hold(folder, number, content, options.beatMs ?? 3_000);
}

function hold(folder: string, number: number, content: Content, beatMs: number): Lease {
  const lost = new AbortController();
  let writing: Promise<void> = Promise.resolve();
  const renew = async (released: boolean) => {
    if ((await highestNumber(folder)) !== number) {
      clearInterval(timer);
      lost.abort(
        new MusterError("LEASE_LOST", "Another process has taken over what this one was fetching.", {
          hint: "Nothing to do: the other goes on from here.",
        }),
      );
      return;
    }
    content.beat += 1;
    content.released = released;
    await writeContent(fileOf(folder, number), "r+", content);
  };
  const beat = () => {
    // A beat that fails is made up for by the next; if none succeeds, others take over, and that is right.
    writing = writing.then(() => renew(false)).catch(() => undefined);
  };
  const timer = setInterval(beat, beatMs);
  timer.unref();
  return {
    lost: lost.signal,
    async release() {
      clearInterval(timer);
      await writing;
      if (!lost.signal.aborted) await renew(true).catch(() => undefined);
    },
  };
}

/** In place and always as long: it needs no space on a full disk, and cannot bring back a file that another removed. */
async function writeContent(path: string, flags: "wx" | "r+", content: Content): Promise<void> {
  await using file = await open(path, flags, 0o644);
  await file.write(JSON.stringify(content).padEnd(CONTENT_LENGTH), 0);
}

async function highestNumber(folder: string): Promise<number> {
  return Math.max(0, ...(await numbers(folder)));
}

async function numbers(folder: string): Promise<number[]> {
  return (await readdir(folder)).filter((name) => /^\d+$/.test(name)).map(Number);
}

async function removeBelow(folder: string, number: number): Promise<void> {
  const older = (await numbers(folder)).filter((other) => other < number);
  // One that stays does no harm: the highest number holds.
  await Promise.all(older.map((other) => rm(fileOf(folder, other), { force: true }).catch(() => undefined)));
}

function fileOf(folder: string, number: number): string {
  return join(folder, String(number).padStart(12, "0"));
}

function parseContent(text: string): Content | null {
  try {
    return contentSchema.parse(JSON.parse(text));
  } catch {
    return null;
  }
}
