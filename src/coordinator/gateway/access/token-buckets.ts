/** So many a minute, of each name; what was not used is saved up for a minute. Times are of the monotonic clock. */
export class TokenBuckets {
  readonly #buckets = new Map<string, { left: number; at: number; perMinute: number }>();

  /** Takes one, where there is one. Gives the milliseconds until there is one otherwise; 0 where it was taken. */
  take(name: string, perMinute: number): number {
    const bucket = this.#filled(name, perMinute);
    if (bucket.left < 1) return Math.ceil(((1 - bucket.left) / perMinute) * 60_000);
    bucket.left -= 1;
    return 0;
  }

  /** Milliseconds until there is one; 0 where there is. Takes nothing. */
  wait(name: string, perMinute: number): number {
    const { left } = this.#filled(name, perMinute);
    return left < 1 ? Math.ceil(((1 - left) / perMinute) * 60_000) : 0;
  }

  /** Forgets those that are full again. */
  sweep(): void {
    for (const [name, { perMinute }] of this.#buckets) {
      if (this.#filled(name, perMinute).left >= perMinute) this.#buckets.delete(name);
    }
  }

  #filled(name: string, perMinute: number) {
    const now = performance.now();
    const bucket = this.#buckets.get(name) ?? { left: perMinute, at: now, perMinute };
    bucket.left = Math.min(perMinute, bucket.left + ((now - bucket.at) / 60_000) * perMinute);
    bucket.at = now;
    bucket.perMinute = perMinute;
    this.#buckets.set(name, bucket);
    return bucket;
  }
}
