import { Gauge, type Registry } from "prom-client";
import { JOB_KINDS, MODEL_STATES } from "../../model.ts";
import { VERSION } from "../../system.ts";
import type { Backend } from "../backend.ts";

/** What the gauges are read off. */
export interface GaugeSources
  extends Pick<Backend, "workers" | "jobs" | "trouble" | "isConnected" | "evictionsAreFrozen"> {
  /** Answers as events that are under way. */
  streams(): number;
}

type Values = [labels: Record<string, string>, value: number][];

/** How things stand when they are asked for. Nothing is told before there are sources. */
export function addGauges(
  registry: Registry,
  { sources, typeLabel }: { sources: () => GaugeSources | null; typeLabel: (type: string) => string },
): void {
  const gauge = (name: string, help: string, labelNames: string[], read: (from: GaugeSources) => Values) =>
    new Gauge({
      ...{ name: `muster_coordinator_${name}`, help, labelNames, registers: [registry] },
      collect() {
        this.reset();
        // Without labels a reset is a 0.
        if (labelNames.length === 0) this.remove();
        const from = sources();
        // Those of the same labels are added up.
        if (from) for (const [labels, value] of read(from)) this.inc(labels, value);
      },
    });
  const MIB = 2 ** 20;

  gauge("info", "Always 1; the label says what runs here.", ["version"], () => [[{ version: VERSION }, 1]]);
  gauge("ready", "1 while jobs can be taken.", [], ({ trouble }) => [[{}, trouble() === null ? 1 : 0]]);
  gauge("nats_connected", "1 while NATS is within reach; absent without it.", [], ({ isConnected }) =>
    isConnected ? [[{}, isConnected() ? 1 : 0]] : [],
  );
  gauge("workers", "Workers by what they say, or disconnected.", ["type", "state"], ({ workers }) =>
    workers.list().map(({ workerType, connected, state }) => {
      return [{ type: typeLabel(workerType), state: connected ? state : "disconnected" }, 1];
    }),
  );
  gauge("workers_ready", "Workers that take work.", ["type"], ({ workers }) =>
    workers.list().map(({ workerType, ready }) => [{ type: typeLabel(workerType) }, ready ? 1 : 0]),
  );
  const frozen = "1 while so many workers are silent at once that none is forgotten.";
  gauge("evictions_frozen", frozen, [], ({ evictionsAreFrozen }) => [[{}, evictionsAreFrozen() ? 1 : 0]]);
  gauge("gpus", "GPUs of connected workers.", ["type"], ({ workers }) =>
    connectedOf(workers).map(({ workerType, hardware }) => [{ type: typeLabel(workerType) }, hardware.gpus.length]),
  );
  gauge("gpu_memory_total_bytes", "GPU memory of connected workers.", ["type"], ({ workers }) =>
    connectedOf(workers).flatMap(({ workerType, hardware }) =>
      hardware.gpus.map(({ memoryTotalMiB }) => [{ type: typeLabel(workerType) }, (memoryTotalMiB ?? 0) * MIB]),
    ),
  );
  gauge("gpu_memory_used_bytes", "GPU memory in use, as of the last beats.", ["type"], ({ workers }) =>
    connectedOf(workers).flatMap(({ workerType, vitals }) =>
      (vitals?.gpus ?? []).map(({ memoryUsedMiB }) => [{ type: typeLabel(workerType) }, (memoryUsedMiB ?? 0) * MIB]),
    ),
  );
  gauge("models", "Models of connected workers, each as often as a worker has it.", ["state"], ({ workers }) => [
    ...MODEL_STATES.map((state): Values[number] => [{ state }, 0]),
    ...connectedOf(workers).flatMap(({ models }) => models.map(({ state }): Values[number] => [{ state }, 1])),
  ]);
  const queued = "Jobs that wait; of kind any where gateways share more than 20000.";
  gauge("jobs_queued", queued, ["kind"], ({ jobs }) => {
    const { byKind } = jobs.waiting();
    return byKind ? JOB_KINDS.map((kind) => [{ kind }, byKind[kind] ?? 0]) : [[{ kind: "any" }, jobs.counts().queued]];
  });
  gauge("job_oldest_queued_seconds", "Age of the oldest job that waits; absent with NATS.", [], ({ jobs }) => {
    const { oldestAt } = jobs.waiting();
    if (oldestAt === undefined) return [];
    return [[{}, oldestAt === null ? 0 : Math.max(0, (Date.now() - oldestAt) / 1000)]];
  });
  gauge("jobs_assigned", "Jobs at workers.", [], ({ jobs }) => [[{}, jobs.counts().assigned]]);
  gauge("streams_open", "Answers as server-sent events that are under way.", [], ({ streams }) => [[{}, streams()]]);
}

function connectedOf(workers: GaugeSources["workers"]) {
  return workers.list().filter(({ connected }) => connected);
}
