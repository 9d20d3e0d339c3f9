import { readdir, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Layout } from "./layout.ts";
import { makeFolder } from "./make-folder.ts";

/**
 * When models were last used: the age of a small file a model, by the volume's own clock. Two that write it at once do no
 * harm, and one that is lost makes its model as old as its record.
 */

const MARK_MS = 3_600_000;

/** Notes uses of models, each at most once an hour: for a whole fleet that is nothing to write. */
export class UseMarks {
  readonly #layout: Layout;
  readonly #markedAt = new Map<string, number>();

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  async mark(keys: Iterable<string>): Promise<void> {
    const now = performance.now();
    const due = [...new Set(keys)].filter(
      (key) => now - (this.#markedAt.get(key) ?? Number.NEGATIVE_INFINITY) >= MARK_MS,
    );
    for (const key of due) {
      this.#markedAt.set(key, now);
      const path = this.#layout.used(key);
      try {
        await makeFolder(dirname(path));
        await writeFile(path, `${new Date().toISOString()}\n`);
      } catch {
        // A full or read-only volume: only the order of a later prune depends on it.
        this.#markedAt.delete(key);
      }
    }
  }
}

/** By record key, in milliseconds as Date.now. */
export async function readLastUses(layout: Layout): Promise<Map<string, number>> {
  const folder = dirname(layout.used("any"));
  const names = await readdir(folder).catch(() => []);
  const times = await Promise.all(
    names.map(async (name) => [name, (await stat(join(folder, name)).catch(() => null))?.mtimeMs] as const),
  );
  return new Map(times.flatMap(([name, time]) => (time === undefined ? [] : [[name, time]])));
}

export async function forgetUse(layout: Layout, key: string): Promise<void> {
  await rm(layout.used(key), { force: true });
}
