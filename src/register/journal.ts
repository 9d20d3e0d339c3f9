import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import type { Logger } from "../log.ts";

/** Lines in a file that only grows, until it is written anew with what still counts. */
export interface Journal {
  /**
   * Adds the lines, together with what else came meanwhile; they are asked for when their turn comes, and may be none then.
   * Settles once they are on the disk (with `lazy`: given to the system); false where the disk does not take them. Never rejects.
   */
  write(lines: () => string[], options?: { lazy?: boolean }): Promise<boolean>;
  close(): Promise<void>;
}

export interface JournalOptions {
  path: string;
  /** The lines that count now; they take the place of everything written. */
  live: () => string[];
  log: Logger;
}

interface Waiting {
  lines: () => string[];
  lazy: boolean;
  settle: (written: boolean) => void;
}

/** Below this nothing is gained by writing the file anew. */
const SMALL_BYTES = 256 * 1024;

/** The file is made with the first lines. */
export function openJournal({ path, live, log }: JournalOptions): Journal {
  let waiting: Waiting[] = [];
  let working: Promise<void> | null = null;
  let file: FileHandle | null = null;
  let bytes = 0;
  let limit = SMALL_BYTES;
  /** What is in the file cannot be trusted: a write failed half-way, or a sync did, which the system tells only once. */
  let broken = false;

  const rewrite = async () => {
    const text = toText(live());
    const temporary = `${path}.tmp`;
    const next = await open(temporary, "w", 0o600);
    try {
      await next.appendFile(text);
      await next.datasync();
      await rename(temporary, path);
    } catch (error) {
      await next.close();
      await rm(temporary, { force: true });
      throw error;
    }
    await file?.close();
    file = next;
    bytes = Buffer.byteLength(text);
    limit = Math.max(SMALL_BYTES, 2 * bytes);
    await syncFolder(dirname(path));
  };
  const append = async (handle: FileHandle, batch: Waiting[]) => {
    const parts = batch.map(({ lines, lazy }) => ({ lines: lines(), lazy })).filter(({ lines }) => lines.length > 0);
    if (parts.length === 0) return;
    const text = toText(parts.flatMap(({ lines }) => lines));
    bytes += Buffer.byteLength(text);
    await handle.appendFile(text);
    if (parts.some(({ lazy }) => !lazy)) await handle.datasync();
  };
  const commit = async (batch: Waiting[]): Promise<boolean> => {
    try {
      // What waits is live already, or dead already: a rewrite holds all of it.
      if (!file || broken || bytes > limit) await rewrite();
      else await append(file, batch);
      if (broken) log.info("Results are kept on the disk again");
      broken = false;
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (!broken)
        log.warn({ code, path }, "Results cannot be kept on the disk; they are sent, but a kill would lose them");
      broken = true;
      return false;
    }
  };
  const work = async () => {
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      const written = await commit(batch);
      for (const { settle } of batch) settle(written);
    }
    working = null;
  };
  return {
    write(lines, { lazy = false } = {}) {
      const { promise, resolve } = Promise.withResolvers<boolean>();
      waiting.push({ lines, lazy, settle: resolve });
      working ??= work();
      return promise;
    },
    async close() {
      await working;
      await file?.close();
      file = null;
    },
  };
}

function toText(lines: string[]): string {
  return lines.map((line) => `${line}\n`).join("");
}

/** Makes the new name survive a power cut; file systems that cannot are not asked twice. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r").catch(() => null);
  await folder?.sync().catch(() => undefined);
  await folder?.close();
}
