const WINDOW_MS = 5_000;

/** Bytes a second over the last seconds. */
export class RateMeter {
  readonly #samples: { at: number; bytes: number }[] = [];
  #sum = 0;
  readonly #startedAt = performance.now();

  add(bytes: number): void {
    this.#samples.push({ at: performance.now(), bytes });
    this.#sum += bytes;
  }

  rate(): number {
    const now = performance.now();
    while (this.#samples[0] && this.#samples[0].at < now - WINDOW_MS) this.#sum -= this.#samples.shift()?.bytes ?? 0;
    const span = Math.min(WINDOW_MS, now - this.#startedAt);
    return span > 0 ? Math.max(0, Math.round((this.#sum / span) * 1000)) : 0;
  }
}
