/**
 * Works through the items in their order, so many at once. The first failure ends all and is thrown; whatever happened to
 * one, nothing runs any more when this settles.
 */
export async function sideBySide<T>(
  items: readonly T[],
  { atOnce, signal }: { atOnce: number; signal?: AbortSignal },
  work: (item: T, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const local = new AbortController();
  const either = signal ? AbortSignal.any([signal, local.signal]) : local.signal;
  const queue = items.values();
  const line = async () => {
    for (const item of queue) {
      either.throwIfAborted();
      await work(item, either);
    }
  };
  const count = Math.min(atOnce, items.length);
  await Promise.all(Array.from({ length: count }, () => line().catch((error: unknown) => local.abort(error))));
  signal?.throwIfAborted();
  if (local.signal.aborted) throw local.signal.reason;
}
