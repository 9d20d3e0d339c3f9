import { readFile, rm, rmdir } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { type FileSpec, SOURCES, type Source } from "../model.ts";
import { hasSize } from "./has-size.ts";
import type { Layout } from "./layout.ts";
import { type LeaseHolder, LeaseWatch, type WatchOptions } from "./lease-watch.ts";
import { makeFolder } from "./make-folder.ts";
import { type ModelAt, storeOf } from "./model-store.ts";
import { createNumbered, highestNumber, numberedFile } from "./numbered-files.ts";

/** Who holds content: which model's lease, and where in that model the content will stand. */
const contentLease = z.object({
  lease: z.object({ name: z.string(), number: z.int().positive() }),
  source: z.enum(SOURCES),
  model: z.object({ location: z.string(), requestedRevision: z.string(), revision: z.string() }),
  path: z.string(),
});
type ContentLease = z.output<typeof contentLease>;

export interface ContentOwner {
  layout: Layout;
  /** The model's lease, which its owner renews. */
  lease: ContentLease["lease"];
  source: Source;
  model: ModelAt;
}

export interface ArrivalOptions extends WatchOptions {
  signal?: AbortSignal;
  /** Called once per holder. */
  onWait?: (holder: LeaseHolder) => void;
}

/**
 * The content that one model is fetching, by digest, so that another model with the same file does not fetch it too. Such
 * a lease is a small file that names the model's lease and is as good as that: it needs no beats of its own. All are
 * taken before the first byte and given back once the model has its record, in which others then find the content.
 */
export class ContentLeases implements AsyncDisposable {
  readonly #owner: ContentOwner;
  /** Folders and files. */
  readonly #held = new Map<string, string>();
  /** By digest: who was last seen to hold it. */
  readonly #others = new Map<string, ContentLease>();

  constructor(owner: ContentOwner) {
    this.#owner = owner;
  }

  /** Takes what nobody has. Gives the files that others are fetching. */
  async take(files: readonly FileSpec[]): Promise<Set<FileSpec>> {
    const looks = files.map(async (file) => ((await this.#look(file, new LeaseWatch({}))).isTaken ? null : file));
    return new Set((await Promise.all(looks)).filter((file) => file !== null));
  }

  /** Waits for another's content, and gives where it stands; or null where the other is gone, and it is to be fetched here. */
  async arrival(file: FileSpec, options: ArrivalOptions): Promise<string | null> {
    const watch = new LeaseWatch(options);
    let announced = "";
    for (;;) {
      options.signal?.throwIfAborted();
      const { isTaken, holder } = await this.#look(file, watch);
      const other = this.#others.get(file.digest.hex);
      // Asked each time: a folder is put together in one place and shown in another.
      const place = other && this.#placeOf(other, file);
      if (place && (await hasSize(place, file.size))) return place;
      if (isTaken) return null;
      const name = JSON.stringify(other?.lease);
      if (holder && name !== announced) {
        announced = name;
        options.onWait?.(holder);
      }
      await sleep(watch.pollMs, undefined, { signal: options.signal });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const removals = [...this.#held].map(async ([folder, path]) => {
      await rm(path, { force: true });
      // Or else somebody has the next number.
      await rmdir(folder);
    });
    await Promise.allSettled(removals);
  }

  async #look(
    { path, digest }: FileSpec,
    watch: LeaseWatch,
  ): Promise<{ isTaken: boolean; holder: LeaseHolder | null }> {
    const { layout, lease, source, model } = this.#owner;
    const folder = layout.contentLease(digest);
    const own: ContentLease = { lease, source, model, path };
    const taken = { isTaken: true, holder: null };
    try {
      await makeFolder(folder);
      const number = await highestNumber(folder);
      const text = number === 0 ? null : await readFile(numberedFile(folder, number), "utf8").catch(() => "");
      const theirs = text === null ? null : parse(text);
      if (theirs) this.#others.set(digest.hex, theirs);
      const { isFree, content } = await watch.look(theirs ? await this.#leaseText(theirs) : text);
      if (!isFree || !(await createNumbered(folder, number + 1, JSON.stringify(own)))) {
        return { isTaken: false, holder: content?.holder ?? null };
      }
      this.#held.set(folder, numberedFile(folder, number + 1));
      return taken;
    } catch {
      // It saves bytes only: where it cannot be had, on a full disk for example, everybody fetches.
      return taken;
    }
  }

  /** Null where that holder is no more the one. */
  async #leaseText({ lease: { name, number } }: ContentLease): Promise<string | null> {
    const folder = this.#owner.layout.lease(name);
    return readFile(numberedFile(folder, number), "utf8").catch(() => null);
  }

  #placeOf({ source, model, path }: ContentLease, file: FileSpec): string {
    return storeOf(this.#owner.layout, source).blob(model, { ...file, path });
  }
}

function parse(text: string): ContentLease | null {
  try {
    return contentLease.parse(JSON.parse(text));
  } catch {
    return null;
  }
}
