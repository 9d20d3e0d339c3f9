import { readFileSync, statSync } from "node:fs";
import { MusterError } from "../errors.ts";
import type { Logger } from "../log.ts";

/** A file is looked at this often at most. */
const LOOK_MS = 1_000;

export interface FreshFileOptions<T> {
  /** Of the setting that names the file. */
  name: string;
  file: string;
  read: (text: string) => T;
  log: Logger;
}

/**
 * Gives what a file holds now: it is read again when it has changed. What is wrong at first is thrown; later it is told,
 * and what held before holds on, since a file that is being replaced may be half written.
 */
export function freshFile<T>({ name, file, read, log }: FreshFileOptions<T>): () => T {
  const look = () => {
    const { mtimeMs, size, ino } = statSync(file);
    return `${mtimeMs} ${size} ${ino}`;
  };
  const load = (): T => {
    try {
      return read(readFileSync(file, "utf8"));
    } catch (cause) {
      if (cause instanceof MusterError) throw cause;
      const { code } = cause as NodeJS.ErrnoException;
      throw new MusterError("CONFIG_INVALID", `${name} ${file} cannot be used${code ? ` (${code})` : ""}.`, {
        hint: `Check it with \`ls -l ${file}\`.`,
        cause,
      });
    }
  };
  let value = load();
  let seen = look();
  let lookedAt = performance.now();
  return () => {
    if (performance.now() - lookedAt < LOOK_MS) return value;
    lookedAt = performance.now();
    try {
      const now = look();
      if (now === seen) return value;
      seen = now;
      value = load();
      log.info(`${name} has changed and is in force`);
    } catch (error) {
      log.warn({ err: error }, `${name} has changed and cannot be used; what it held before holds on`);
    }
    return value;
  };
}
