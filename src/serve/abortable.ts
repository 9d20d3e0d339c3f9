/** The promise, or the signal's reason as soon as it aborts: for waiting on what nobody may ever settle. */
export async function abortable<T>(
  promise: Promise<T> | null | undefined,
  signal: AbortSignal,
): Promise<T | undefined> {
  if (!promise) return undefined;
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort);
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
