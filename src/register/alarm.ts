import { LONGEST_TIMER_MS } from "../retry.ts";

/**
 * Calls once when the monotonic clock (performance.now) has reached `due()`, which is asked again each time, because it
 * may have moved on meanwhile. Returns the function that takes it back.
 */
export function setAlarm(due: () => number, ring: () => void): () => void {
  let timer: NodeJS.Timeout;
  const wait = (leftMs: number) => {
    timer = setTimeout(look, Math.min(Math.max(0, leftMs), LONGEST_TIMER_MS));
  };
  const look = () => {
    const leftMs = due() - performance.now();
    if (leftMs > 0) wait(leftMs);
    else ring();
  };
  wait(due() - performance.now());
  return () => clearTimeout(timer);
}
