/** Milliseconds of each, one after the other. */
export async function oneByOne(count: number, act: () => Promise<unknown>): Promise<number[]> {
  const took: number[] = [];
  for (let done = 0; done < count; done += 1) {
    const startedAt = performance.now();
    await act();
    took.push(performance.now() - startedAt);
  }
  return took;
}

/** `count` of them, so many at once. */
export function all(count: number, atOnce: number, act: () => Promise<unknown>): Promise<void> {
  let left = count;
  return during(atOnce, () => left-- > 0, act);
}

/** So many at once, each followed by another for as long as `goesOn` says. */
export async function during(atOnce: number, goesOn: () => boolean, act: () => Promise<unknown>): Promise<void> {
  const turns = Array.from({ length: atOnce }, async () => {
    while (goesOn()) await act();
  });
  await Promise.all(turns);
}
