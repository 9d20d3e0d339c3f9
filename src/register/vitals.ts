import type { Logger } from "../log.ts";
import type { WorkerFrame } from "../protocol.ts";

export type GpuUsage = Extract<WorkerFrame, { t: "beat" }>["gpus"];

export interface VitalsSources {
  diskFree: () => Promise<number | null>;
  gpuUsage?: () => Promise<GpuUsage>;
}

export interface Vitals {
  readonly latest: { diskFreeBytes: number | null; gpus: GpuUsage };
  /** Starts a new look unless one is under way. */
  refresh(): void;
}

/**
 * The measured part of a beat. A beat sends what was last seen and never waits for a look: a hanging driver or network
 * volume would otherwise silence the worker.
 */
export function createVitals(sources: VitalsSources, log: Logger): Vitals {
  const latest: Vitals["latest"] = { diskFreeBytes: null, gpus: [] };
  /** Never rejects, and is not waited for at the end: a hanging driver must not hold up the exit. */
  let looking: Promise<void> | null = null;

  const look = async () => {
    const [disk, gpus] = await Promise.allSettled([
      Promise.try(sources.diskFree),
      Promise.try(async () => sources.gpuUsage?.() ?? []),
    ]);
    for (const result of [disk, gpus]) {
      if (result.status === "rejected") log.debug({ err: result.reason }, "A measurement for the heartbeat failed");
    }
    latest.diskFreeBytes = disk.status === "fulfilled" ? disk.value : null;
    latest.gpus = gpus.status === "fulfilled" ? gpus.value : [];
    looking = null;
  };
  return {
    latest,
    refresh() {
      if (!looking) looking = look();
    },
  };
}
