/** Bytes of a slot: what is read from a socket before it is written, noted and digested in one go. */
export const SLOT_BYTES = 256 << 10;

/** A piece of memory that the threads share, so that one receives into it and another digests it without a copy. */
export class Slot {
  /** Position in the shared memory; null where other threads cannot see it. */
  readonly offset: number | null;
  readonly bytes: Buffer;
  #users = 0;
  readonly #onFree: (slot: Slot) => void;

  constructor(bytes: Buffer, offset: number | null, onFree: (slot: Slot) => void) {
    this.bytes = bytes;
    this.offset = offset;
    this.#onFree = onFree;
  }

  get users(): number {
    return this.#users;
  }

  retain(): void {
    this.#users += 1;
  }

  release(): void {
    this.#users -= 1;
    if (this.#users === 0) this.#onFree(this);
  }
}

/** Slots of one thread. The one freed last is taken first: it is still in the processor's cache. */
export class SlotPool {
  readonly memory: SharedArrayBuffer;
  readonly #free: Slot[] = [];

  constructor(count: number) {
    this.memory = new SharedArrayBuffer(count * SLOT_BYTES);
    const onFree = (slot: Slot) => void this.#free.push(slot);
    for (let index = count - 1; index >= 0; index -= 1) {
      const offset = index * SLOT_BYTES;
      this.#free.push(new Slot(Buffer.from(this.memory, offset, SLOT_BYTES), offset, onFree));
    }
  }

  /** Retained once. Never waits: beyond the pool memory of this thread alone is given. */
  take(): Slot {
    const slot = this.#free.pop() ?? new Slot(Buffer.allocUnsafeSlow(SLOT_BYTES), null, () => undefined);
    slot.retain();
    return slot;
  }
}
