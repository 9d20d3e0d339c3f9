import type { Logger } from "../log.ts";
import type { KeepObserver } from "./keep-models.ts";
import type { SyncObserver, SyncProgress } from "./sync-models.ts";

const EVERY_MS = 3_000;
const REPEAT_MS = 10_000;
/** Of something that is under way; the rate in bytes a second. */
export type Amounts = Pick<SyncProgress, "bytesDone" | "bytesTotal" | "rate">;

const DELAY = / Trying again in [\d.]+ s$/;

/** Progress as log lines that begin with "Downloading", every few seconds for each model. */
export function logProgress(log: Logger): SyncObserver {
  const states = new Map<string, { state: string; loggedAt: number }>();
  return {
    onProgress(progress) {
      const { spec, state } = progress;
      const key = spec.variant.id;
      const before = states.get(key);
      const now = performance.now();
      if (before?.state === state && (state !== "fetching" || now - before.loggedAt < EVERY_MS)) return;
      states.set(key, { state, loggedAt: now });
      if (state === "fetching") log.info(progressLine(progress));
      else if (state === "stored") {
        const name = nameOf(progress);
        const what = before?.state === "fetching" ? `Downloaded ${name}` : `${name} is complete on the volume`;
        log.info(`${what}: ${bytes(progress.bytesTotal)}`);
      }
    },
    onNote: logNotes(log),
  };
}

/**
 * Notes as log lines. Many connections meet the same trouble at once: what was just said of a model is not said again for
 * a while (but for those who ask for LOG_LEVEL=debug).
 */
export function logNotes(log: Logger): SyncObserver["onNote"] {
  const said = new Map<string, number>();
  return (spec, message, level) => {
    const key = `${spec.id} ${message.replace(DELAY, "")}`;
    const now = performance.now();
    const repeats = now - (said.get(key) ?? Number.NEGATIVE_INFINITY) < REPEAT_MS;
    if (!repeats) said.set(key, now);
    log[repeats ? "debug" : level]({ model: spec.id }, message);
  };
}

/** Tells several observers. */
export function observeAll(...observers: KeepObserver[]): KeepObserver {
  return {
    onProgress: (progress) => {
      for (const observer of observers) observer.onProgress(progress);
    },
    onNote: (...note) => {
      for (const observer of observers) observer.onNote(...note);
    },
    onLeaseWait: (...wait) => {
      for (const observer of observers) observer.onLeaseWait?.(...wait);
    },
    onFetchEvent: (...event) => {
      for (const observer of observers) observer.onFetchEvent?.(...event);
    },
    onVolumeChange: () => {
      for (const observer of observers) observer.onVolumeChange();
    },
  };
}

function progressLine(progress: SyncProgress): string {
  return `Downloading ${nameOf(progress)}: ${howFar(progress)}`;
}

/** `62% (3.8 MB of 6.0 MB, 1.2 MB/s, 2 s left)` */
export function howFar({ bytesDone, bytesTotal, rate }: Amounts): string {
  const percent = bytesTotal > 0 ? Math.floor((bytesDone / bytesTotal) * 100) : 100;
  const pace = rate > 0 ? `, ${bytes(rate)}/s, ${timeLeft((bytesTotal - bytesDone) / rate)} left` : "";
  return `${percent}% (${bytes(bytesDone)} of ${bytes(bytesTotal)}${pace})`;
}

function nameOf({ spec }: SyncProgress): string {
  return spec.variant.location;
}

/** Decimal units, as hubs and disks are labelled. */
export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = count;
  let unit = 0;
  for (; value >= 999.5 && unit < units.length - 1; unit += 1) value /= 1000;
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function timeLeft(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
