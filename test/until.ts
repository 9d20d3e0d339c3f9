import { setTimeout as sleep } from "node:timers/promises";

/** Polls until the condition gives something truthy, and returns that; fails after the limit with what was waited for. */
export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  limitMs = 15_000,
): Promise<Exclude<T, false | 0 | "" | null | undefined>> {
  const end = performance.now() + limitMs;
  for (;;) {
    const value = await condition();
    if (value) return value as Exclude<T, false | 0 | "" | null | undefined>;
    if (performance.now() > end) throw new Error(`Waited ${limitMs} ms in vain until ${what}`);
    await sleep(5);
  }
}
