/** Bytes that came in the latest windows of time. */
export class Throughput {
  #windows: { bytes: number; ms: number }[] = [];

  /** Milliseconds that it tells of. */
  get ms(): number {
    return this.#windows.reduce((sum, { ms }) => sum + ms, 0);
  }

  /** Bytes a millisecond; 0 before the first window. */
  get rate(): number {
    return this.#windows.reduce((sum, { bytes }) => sum + bytes, 0) / Math.max(1, this.ms);
  }

  add(bytes: number, ms: number): void {
    this.#windows.push({ bytes, ms });
  }

  /** Forgets the oldest windows without which it still tells of so much time. */
  keep(ms: number): void {
    while (this.#windows[0] && this.ms - this.#windows[0].ms >= ms) this.#windows.shift();
  }

  clear(): void {
    this.#windows = [];
  }
}
