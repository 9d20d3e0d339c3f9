import type { PartialFile } from "../../store/partial-file.ts";
import { contiguousPrefix, type Range } from "../../store/ranges.ts";
import type { Slot } from "./slots.ts";

/** Where a file is digested: on this thread or another. Works in the order it is told, and says when each step is done. */
export interface Digester {
  /** Bytes that may be under way from memory. */
  readonly capacity: number;
  /** Bytes of the file that it may be told to read at a time: a thread that is busy is long in telling it of more. */
  readonly readAhead: number;
  /** False where it cannot see the slot. */
  takes(slot: Slot): boolean;
  update(slot: Slot, from: number, length: number, done: () => void): void;
  /** Reads what is in the file up to `end`. Where it cannot be read `finish` rejects. */
  read(end: number, done: () => void): void;
  finish(): Promise<string>;
  close(): void;
}

/** Read at a time: other files of the digesting thread have their turn in between. */
const READ_BYTES = 1 << 20;
/** So far behind the digest catches up in a moment, and has the bytes from memory again then. */
const WITHIN_REACH = 256 << 20;

/**
 * Gives a file's bytes to its digester in order: straight from memory where they come in order, and from the page cache
 * where another connection had them first.
 */
export class DigestFeed {
  readonly #partial: PartialFile;
  readonly #digester: Digester;
  /** Handed over up to here. */
  #position = 0;
  #underWay = 0;
  #waitedMs = 0;
  #waitsSince: number | null = null;
  #closed = false;
  readonly #waiters: { most: number; resolve: () => void }[] = [];

  constructor(partial: PartialFile, digester: Digester) {
    this.#partial = partial;
    this.#digester = digester;
    this.#readOn();
  }

  /** Milliseconds so far that connections waited for the digest: it is slower. */
  get waitedMs(): number {
    return this.#waitedMs + (this.#waitsSince === null ? 0 : performance.now() - this.#waitsSince);
  }

  /** Bytes just written and noted. Gives a promise where the digest is the slower half and should be waited for. */
  offer(slot: Slot, from: number, { start, end }: Range): Promise<void> | null {
    if (this.#closed) return null;
    const { capacity } = this.#digester;
    // Behind much else a slot would be kept from connections for long.
    const inOrder = start === this.#position && this.#underWay <= capacity && this.#digester.takes(slot);
    if (inOrder) {
      const length = end - start;
      slot.retain();
      this.#position = end;
      this.#underWay += length;
      this.#digester.update(slot, from, length, () => {
        slot.release();
        this.#settle(length);
      });
    }
    this.#readOn();
    // With holes several connections are at work: the next bytes would not come in order, and the link had better not idle.
    const { done } = this.#partial;
    const behind = end - this.#position + this.#underWay;
    if (done.length > 1 || behind <= capacity || behind > WITHIN_REACH) return null;
    this.#waitsSince ??= performance.now();
    return this.#fallTo(capacity / 2);
  }

  /** Hex. The whole file has to be there. Rejects when the feed is closed meanwhile. */
  async finish(size: number): Promise<string> {
    while (this.#position < size && !this.#closed) {
      this.#readOn();
      await this.#fallTo(0);
    }
    if (this.#closed) throw new Error("the digest was given up");
    return this.#digester.finish();
  }

  /** Nothing is digested or read any more: the file may be closed. */
  close(): void {
    this.#closed = true;
    this.#digester.close();
  }

  /** All bytes up to here have come. */
  get #prefix(): number {
    return contiguousPrefix(this.#partial.done);
  }

  #readOn(): void {
    if (this.#closed) return;
    const end = this.#prefix;
    while (this.#position < end && this.#underWay < this.#digester.readAhead) {
      const next = Math.min(end, this.#position + READ_BYTES);
      const length = next - this.#position;
      this.#position = next;
      this.#underWay += length;
      this.#digester.read(next, () => {
        this.#settle(length);
        this.#readOn();
      });
    }
  }

  #fallTo(most: number): Promise<void> {
    if (this.#underWay <= most) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push({ most, resolve }));
  }

  #settle(length: number): void {
    this.#underWay -= length;
    for (const waiter of this.#waiters.filter(({ most }) => this.#underWay <= most)) {
      this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
      waiter.resolve();
    }
    if (this.#waiters.length > 0 || this.#waitsSince === null) return;
    this.#waitedMs = this.waitedMs;
    this.#waitsSince = null;
  }
}
