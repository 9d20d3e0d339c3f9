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
  /** Tries again now what is missing; of one model, where its id is given. */
  sync(id?: string): void;
  /** Keeps one more, until it is let go. */
  keep(spec: ModelSpec): void;
  /**
   * Keeps that model no more: a fetch is broken off, and what stands on the volume stays. Settles when nothing of it runs any
   * more; nothing is told of it from now on.
   */
  letGo(id: string): Promise<void>;
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
  const kept = new Map<string, KeptModel>();
  const sync = (id?: string) => {
    for (const [each, model] of kept) if (id === undefined || id === each) model.wake();
  };
  const keepOne = async (spec: ModelSpec, model: KeptModel) => {
    const ending = AbortSignal.any([signal, model.over.signal]);
    const told = untilAborted(observer, model.over.signal);
    let failures = 0;
    let said = "";
    while (!ending.aborted) {
      const woken = new AbortController();
      model.wake = () => woken.abort();
      const [outcome] = await syncModels([spec], { ...context, signal: ending }, told);
      const error = outcome?.error ?? null;
      failures = error ? failures + 1 : 0;
      const pause = error
        ? isTransient(error)
          ? SOON_MS.min + fullJitter(failures, SOON_MS.min, SOON_MS.max)
          : LATER_MS
        : null;
      // Waking up to find the same is no news.
      if (error && !ending.aborted && error.message !== said) {
        told.onNote(
          spec,
          `${error.message} ${error.hint} Trying again in ${Math.round((pause ?? 0) / 1000)} s`,
          "warn",
        );
      }
      said = error?.message ?? "";
      await pauseUntil(pause, AbortSignal.any([ending, woken.signal]));
    }
  };
  const keep = (spec: ModelSpec) => {
    const model: KeptModel = { over: new AbortController(), wake: () => undefined, ended: Promise.resolve() };
    kept.set(spec.id, model);
    model.ended = keepOne(spec, model);
  };
  const onChange = () => {
    sync();
    observer.onVolumeChange();
  };
  for (const spec of specs) keep(spec);
  return {
    sync,
    keep,
    async letGo(id) {
      const model = kept.get(id);
      kept.delete(id);
      model?.over.abort();
      await model?.ended;
    },
    ended: watchVolume(context.layout, onChange, signal).then(async () => {
      await Promise.all([...kept.values()].map(({ ended }) => ended));
    }),
  };
}

interface KeptModel {
  /** Aborted when it is let go. */
  over: AbortController;
  /** Ends the pause before the next attempt. */
  wake: () => void;
  ended: Promise<void>;
}

function untilAborted(observer: SyncObserver, signal: AbortSignal): SyncObserver {
  return {
    onProgress: (progress) => void (signal.aborted || observer.onProgress(progress)),
    onNote: (...note) => void (signal.aborted || observer.onNote(...note)),
    // What was done was done, whoever wants to hear of the model.
    onLeaseWait: (...wait) => observer.onLeaseWait?.(...wait),
    onFetchEvent: (...event) => observer.onFetchEvent?.(...event),
  };
}

/** Null: for as long as nothing wakes it. */
async function pauseUntil(ms: number | null, signal: AbortSignal): Promise<void> {
  if (ms !== null) await sleep(ms, undefined, { signal }).catch(() => undefined);
  else if (!signal.aborted)
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
