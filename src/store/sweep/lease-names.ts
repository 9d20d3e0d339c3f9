import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { SOURCES, type Source } from "../../model.ts";
import type { Hold } from "../holds.ts";
import type { Layout } from "../layout.ts";
import { storeOf } from "../model-store.ts";
import { highestNumber, numberedFile } from "../numbered-files.ts";
import { fullName } from "../ollama-name.ts";

/**
 * Under which lease unfinished files are written. A folder's name does not tell, so it is asked of the leases there are and
 * of those that running workers name: where none of them is about that folder, nobody is at work in it.
 */
export class LeaseNames {
  readonly #layout: Layout;
  readonly #names: ReadonlySet<string>;

  private constructor(layout: Layout, names: ReadonlySet<string>) {
    this.#layout = layout;
    this.#names = names;
  }

  static async read(layout: Layout, holds: readonly Hold[]): Promise<LeaseNames> {
    const folders = await readdir(layout.leases).catch(() => []);
    const named = await Promise.all(folders.map((folder) => leaseName(join(layout.leases, folder))));
    const held = holds.flatMap(({ models }) => models.map(({ lease }) => lease));
    return new LeaseNames(layout, new Set([...named.filter((name) => name !== null), ...held]));
  }

  /** Of the ingest folder; null where there is none. */
  of(ingest: string): string | null {
    return [...this.#names].find((name) => this.#isOf(name, ingest)) ?? null;
  }

  /** All of a source. */
  ofSource(source: Source): string[] {
    return [...this.#names].filter((name) => name.startsWith(`${source}:`));
  }

  #isOf(name: string, ingest: string): boolean {
    const source = SOURCES.find((each) => name.startsWith(`${each}:`));
    if (!source) return false;
    const location = name.slice(source.length + 1);
    if (source !== "ollama") return storeOf(this.#layout, source).ingest(location) === ingest;
    return spellings(location).some((each) => this.#layout.ollama.ingest(each).toLowerCase() === ingest.toLowerCase());
  }
}

/** However much of an Ollama name was written in the catalog. */
function spellings(full: string): string[] {
  const [host = "", namespace = "", last = ""] = full.split("/");
  const model = last.replace(/:latest$/, "");
  const lasts = [last, model];
  const all = lasts.flatMap((each) => [each, `${namespace}/${each}`, `${host}/${namespace}/${each}`]);
  return all.flatMap((each) => [each, `https://${each}`, `http://${each}`]).filter((each) => isName(each, full));
}

function isName(text: string, full: string): boolean {
  try {
    return fullName(text) === full;
  } catch {
    return false;
  }
}

async function leaseName(folder: string): Promise<string | null> {
  try {
    const text = await readFile(numberedFile(folder, await highestNumber(folder)), "utf8");
    return (JSON.parse(text) as { holder: { what: string } }).holder.what;
  } catch {
    return null;
  }
}
