export interface SilenceWatch {
  heard(): void;
  stop(): void;
}

/**
 * Calls back once when nothing was heard for the limit. Only time in which this process ran is counted: after a stall
 * or a suspension the answers still wait in the socket, and the silence was our own.
 */
export function watchSilence(limitMs: number, onSilence: () => void): SilenceWatch {
  const tickMs = limitMs / 10;
  let silentMs = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    silentMs += Math.min(now - last, 2 * tickMs);
    last = now;
    if (silentMs < limitMs) return;
    clearInterval(timer);
    onSilence();
  }, tickMs);
  return {
    heard() {
      silentMs = 0;
    },
    stop() {
      clearInterval(timer);
    },
  };
}
