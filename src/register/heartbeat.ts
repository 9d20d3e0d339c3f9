import { monitorEventLoopDelay } from "node:perf_hooks";

export interface Heartbeat {
  /** Number of the last beat. */
  readonly n: number;
  /** A beat between two others; the rhythm stays. */
  now(): void;
  stop(): void;
}

const LAG_RESOLUTION_MS = 20;

/**
 * Beats at once, then at whole multiples of `beatMs` after the start, by the monotonic clock: a late beat does not
 * move the later ones, and beats missed in a stall are not made up for.
 */
export function startHeartbeat(beatMs: number, send: (n: number, loopLagMs: number) => void): Heartbeat {
  const lag = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
  lag.enable();
  const start = performance.now();
  let timer: NodeJS.Timeout;
  let n = 0;
  let slot = 0;

  const beat = () => {
    // The histogram holds the time between two samples, so the interval itself is part of each value.
    const p99 = lag.count > 0 ? lag.percentile(99) / 1e6 - LAG_RESOLUTION_MS : 0;
    lag.reset();
    n += 1;
    send(n, Math.max(0, Math.round(p99 * 10) / 10));
  };
  const schedule = () => {
    const elapsed = performance.now() - start;
    // Counted rather than computed: a timer may fire a fraction early, and would then hit the same slot twice.
    slot = Math.max(slot, Math.floor(elapsed / beatMs)) + 1;
    timer = setTimeout(
      () => {
        schedule();
        beat();
      },
      slot * beatMs - elapsed,
    );
  };
  schedule();
  beat();
  return {
    get n() {
      return n;
    },
    now: beat,
    stop() {
      clearTimeout(timer);
      lag.disable();
    },
  };
}
