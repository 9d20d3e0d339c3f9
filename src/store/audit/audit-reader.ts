import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { hasSystemCode } from "../../errors.ts";
import { type AuditEntry, auditEntrySchema } from "./entry.ts";

export interface AuditReading {
  /** By time, as each host's clock had it; those of one file that have the same in their order. */
  entries: AuditEntry[];
  /** Lines that are none: torn by a kill, or of another format. */
  unreadable: number;
}

/** Reads the trails of all hosts, and then what has come since. */
export class AuditReader {
  readonly #folder: string;
  /** By inode, because files get another name when they are full: how far each was read. */
  readonly #read = new Map<number, number>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** A line that has no end yet is left for the next call, but where none will come (`isLast`). */
  async next({ isLast = false } = {}): Promise<AuditReading> {
    const names = await readdir(this.#folder).catch((error: unknown) => {
      if (hasSystemCode(error, "ENOENT")) return [];
      throw error;
    });
    const reading: AuditReading = { entries: [], unreadable: 0 };
    for (const name of names.filter((each) => each.endsWith(".jsonl")).toSorted()) {
      for (const line of await this.#linesOf(join(this.#folder, name), isLast)) {
        const entry = parse(line);
        if (entry) reading.entries.push(entry);
        else reading.unreadable += 1;
      }
    }
    reading.entries.sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0));
    return reading;
  }

  async #linesOf(path: string, isLast: boolean): Promise<string[]> {
    try {
      await using file = await open(path, "r");
      const { ino, size } = await file.stat();
      const from = this.#read.get(ino) ?? 0;
      if (size <= from) return [];
      const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from);
      const end = isLast ? bytesRead : buffer.lastIndexOf("\n", bytesRead - 1) + 1;
      this.#read.set(ino, from + end);
      return buffer
        .toString("utf8", 0, end)
        .split("\n")
        .filter((line) => line !== "");
    } catch (error) {
      // Too old, and taken away; or it got another name, under which it is met as well.
      if (hasSystemCode(error, "ENOENT")) return [];
      throw error;
    }
  }
}

function parse(line: string): AuditEntry | null {
  try {
    return auditEntrySchema.parse(JSON.parse(line));
  } catch {
    return null;
  }
}
