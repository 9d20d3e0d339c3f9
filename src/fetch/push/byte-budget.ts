/** Lets so many bytes be held at once, by whoever came first. */
export class ByteBudget {
  #free: number;
  readonly #all: number;
  readonly #waiting: { bytes: number; start: () => void }[] = [];

  constructor(bytes: number) {
    this.#free = bytes;
    this.#all = bytes;
  }

  /** Waits until there is room, and gives what makes the room free again. Who wants more than there is gets it alone. */
  async take(bytes: number): Promise<() => void> {
    const taken = Math.min(bytes, this.#all);
    await new Promise<void>((start) => {
      this.#waiting.push({ bytes: taken, start });
      this.#next();
    });
    return () => {
      this.#free += taken;
      this.#next();
    };
  }

  #next(): void {
    for (let first = this.#waiting[0]; first && first.bytes <= this.#free; first = this.#waiting[0]) {
      this.#waiting.shift();
      this.#free -= first.bytes;
      first.start();
    }
  }
}
