import { open, readFile, rm, rmdir } from "node:fs/promises";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { hasSystemCode, MusterError } from "../errors.ts";
import { isProcessRunning, ownProcess } from "../process-identity.ts";
import { type LeaseContent, type LeaseHolder, LeaseWatch, type WatchOptions } from "./lease-watch.ts";
import { makeFolder } from "./make-folder.ts";
import { createNumbered, highestNumber, numberedFile } from "./numbered-files.ts";

/**
 * A lock on the shared volume. A lease is a folder of numbered files; the holder is who created the highest number.
 * The holder renews a counter; a waiter that sees it unchanged for `expiryMs` on its own monotonic clock takes the next
 * number, so that skewed clocks do not matter. Fetching depends on it for bytes only, never for correctness: files are committed by
 * an atomic rename of digest-checked content. Removing depends on it so far that a record is looked at again once written.
 */
export interface Lease {
  /** Of its file. */
  readonly number: number;
  /** Aborted when another has taken over (this process was frozen, or the volume was away). */
  readonly lost: AbortSignal;
  release(): Promise<void>;
}

export interface LeaseOptions extends WatchOptions {
  what: string;
  signal?: AbortSignal;
  /** Called when the lease is held by another, once per holder. */
  onWait?: (holder: LeaseHolder) => void;
  beatMs?: number;
}

const CONTENT_LENGTH = 1024;

/** Waits until the lease is free, released, or its holder is gone, and takes it. */
export async function acquireLease(folder: string, options: LeaseOptions): Promise<Lease> {
  const { signal } = options;
  await makeFolder(folder);
  const watch = new LeaseWatch(options);
  let announced = "";
  for (;;) {
    signal?.throwIfAborted();
    const { lease, content } = await tryOnce(folder, watch, options);
    if (lease) return lease;
    if (lease === undefined) continue;
    if (content && content.token !== announced) {
      announced = content.token;
      options.onWait?.(content.holder);
    }
    await sleep(watch.pollMs, undefined, { signal });
  }
}

/**
 * Takes the lease where nobody has it, and gives null where somebody certainly does: known by his process on this machine,
 * elsewhere by a counter that moves. Of one who may be gone it takes as long as taking over does.
 */
export async function tryLease(folder: string, options: LeaseOptions): Promise<Lease | null> {
  await makeFolder(folder);
  const watch = new LeaseWatch(options);
  let seen: LeaseContent | null = null;
  for (;;) {
    options.signal?.throwIfAborted();
    const { lease, content } = await tryOnce(folder, watch, options);
    if (lease) return lease;
    if (lease === undefined) continue;
    if (content && (await isProcessRunning(content.process))) return null;
    if (seen && content && (seen.token !== content.token || seen.beat !== content.beat)) return null;
    seen ??= content;
    await sleep(watch.pollMs, undefined, { signal: options.signal });
  }
}

/** `lease`: null where it is another's, and undefined where somebody was quicker. */
async function tryOnce(
  folder: string,
  watch: LeaseWatch,
  options: LeaseOptions,
): Promise<{ lease: Lease | null | undefined; content: LeaseContent | null }> {
  try {
    const number = await highestNumber(folder);
    const text = number === 0 ? null : await readFile(numberedFile(folder, number), "utf8").catch(() => "");
    const { isFree, content } = await watch.look(text);
    if (!isFree) return { lease: null, content };
    return { lease: (await take(folder, number + 1, options)) ?? undefined, content };
  } catch (error) {
    // Somebody who tidies up has removed the folder of a lease that nobody had.
    if (!hasSystemCode(error, "ENOENT")) throw error;
    await makeFolder(folder);
    return { lease: undefined, content: null };
  }
}

/**
 * Removes a lease that nobody has, as its holder, so that nobody takes it meanwhile; false where it is another's. Numbers
 * begin anew after that: only for leases so old that no process is left that was frozen while it held one.
 */
export async function removeLease(folder: string, options: LeaseOptions): Promise<boolean> {
  const lease = await tryLease(folder, options);
  if (!lease) return false;
  await lease.release();
  await rm(numberedFile(folder, lease.number), { force: true });
  // Or else somebody has the next number.
  await rmdir(folder).catch(() => undefined);
  return true;
}

async function take(folder: string, number: number, { what, beatMs = 3_000 }: LeaseOptions): Promise<Lease | null> {
  const content: LeaseContent = {
    token: crypto.randomUUID(),
    holder: { host: hostname(), what, since: new Date().toISOString() },
    process: await ownProcess(),
    beat: 0,
    released: false,
  };
  return (await createNumbered(folder, number, show(content))) ? hold(folder, number, content, beatMs) : null;
}

function hold(folder: string, number: number, content: LeaseContent, beatMs: number): Lease {
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
    // In place: it needs no space on a full disk, and cannot bring back a file that another removed.
    await using file = await open(numberedFile(folder, number), "r+");
    await file.write(show(content), 0);
  };
  const beat = () => {
    // A beat that fails is made up for by the next; if none succeeds, others take over, and that is right.
    writing = writing.then(() => renew(false)).catch(() => undefined);
  };
  const timer = setInterval(beat, beatMs);
  timer.unref();
  return {
    number,
    lost: lost.signal,
    async release() {
      clearInterval(timer);
      await writing;
      if (!lost.signal.aborted) await renew(true).catch(() => undefined);
    },
  };
}

/** Always as long, because it is written over what stands there. */
function show(content: LeaseContent): string {
  return JSON.stringify(content).padEnd(CONTENT_LENGTH);
}
