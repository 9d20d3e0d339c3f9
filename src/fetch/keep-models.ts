import { setTimeout as sleep } from "node:timers/promises";
import type { ModelSpec } from "../model.ts";
import { fullJitter } from "../retry.ts";
import type { SyncContext } from "./sync-context.ts";
import { isTransient } from "./sync-model.ts";
import { type SyncObserver, syncModels } from "./sync-models.ts";
import { watchVolume } from "./watch-volume.ts";

/** Between attempts after errors that pass by themselves, and after those that somebody has to see to. */
const SOON_MS = { min: 5_000, max: 300_000 };
const LATER_MS = 600_000;

export interface KeepObserver extends SyncObserver {
  /** Records on the volume have changed. */
  onVolumeChange(): void;
}

export interface ModelKeeper {
  /** Tries again now what is missing. */
  sync(): void;
  /** Settles after the signal, when nothing runs any more. */
  ended: Promise<void>;
}

/**
 * Keeps this worker's models on the volume for as long as it runs: fetches what is missing, tries failures again, and
 * notices what other processes (`muster sync` beside the agent, other workers) have done.
 */
export function keepModels(
  specs: readonly ModelSpec[],
  context: SyncContext & { signal: AbortSignal },
  observer: KeepObserver,
): ModelKeeper {
  const { signal } = context;
  const wakers = new Set<() => void>();
  const wakeAll = () => {
    for (const wake of wakers) wake();
  };
  const keepOne = async (spec: ModelSpec) => {
    let failures = 0;
    let said = "";
    while (!signal.aborted) {
      const woken = new AbortController();
      const wake = () => woken.abort();
      wakers.add(wake);
      const [outcome] = await syncModels([spec], context, observer);
      const error = outcome?.error ?? null;
      failures = error ? failures + 1 : 0;
      const pause = error
        ? isTransient(error)
          ? SOON_MS.min + fullJitter(failures, SOON_MS.min, SOON_MS.max)
          : LATER_MS
        : null;
      // Waking up to find the same is no news.
      if (error && !signal.aborted && error.message !== said) {
        observer.onNote(
          spec,
          `${error.message} ${error.hint} Trying again in ${Math.round((pause ?? 0) / 1000)} s`,
          "warn",
        );
      }
      said = error?.message ?? "";
      await pauseUntil(pause, AbortSignal.any([signal, woken.signal]));
      wakers.delete(wake);
    }
  };
  const onChange = () => {
    wakeAll();
    observer.onVolumeChange();
  };
  const ended = Promise.all([...specs.map(keepOne), watchVolume(context.layout, onChange, signal)]).then(
    () => undefined,
  );
  return { sync: wakeAll, ended };
}

/** Null: for as long as nothing wakes it. */
async function pauseUntil(ms: number | null, signal: AbortSignal): Promise<void> {
  if (ms !== null) await sleep(ms, undefined, { signal }).catch(() => undefined);
  else if (!signal.aborted)
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
