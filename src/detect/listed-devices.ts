/**
 * The devices that a list of the CUDA_VISIBLE_DEVICES kind names, in its order, each once. As the libraries do, it stops
 * at the first entry that names no device; that entry is returned too.
 */
export function takeListed<T>(list: string, match: (entry: string) => T[]): { taken: T[]; stoppedAt: string | null } {
  const taken = new Set<T>();
  for (const entry of list.split(",").map((part) => part.trim())) {
    const matched = match(entry);
    if (matched.length === 0) return { taken: [...taken], stoppedAt: entry };
    for (const device of matched) taken.add(device);
  }
  return { taken: [...taken], stoppedAt: null };
}
