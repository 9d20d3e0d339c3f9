import { collectDefaultMetrics, Gauge, Registry } from "prom-client";
import { MODEL_STATES } from "../model.ts";
import type { StatusBoard } from "../status.ts";
import { countFetches } from "./count-fetches.ts";
import { countJobs } from "./count-jobs.ts";
import { countVolume } from "./count-volume.ts";

/** The agent's metrics, read off the status board whenever they are asked for. */
export function createMetrics(board: StatusBoard): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const gauge = (name: string, help: string, labelNames: string[], collect: (metric: Gauge) => void) =>
    new Gauge({
      name,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset();
        // Without labels a reset is a 0: of a volume nobody has looked at yet, that would be a full one.
        if (labelNames.length === 0) this.remove();
        collect(this);
      },
    });
  const { current } = board;
  gauge("muster_info", "Always 1; the labels say what runs here.", ["version", "worker_id", "worker_type"], (metric) =>
    metric.set({ version: current.version, worker_id: current.workerId, worker_type: current.workerType }, 1),
  );
  gauge("muster_ready", "1 when every required model is stored and the worker takes work.", [], (metric) =>
    metric.set(current.ready ? 1 : 0),
  );
  gauge("muster_coordinator_connected", "1 while registered with the coordinator.", [], (metric) =>
    metric.set(current.coordinator?.connected ? 1 : 0),
  );
  gauge("muster_model_state", "1 for the state a model is in.", ["model", "source", "state"], (metric) => {
    for (const { id, source, state } of current.models) {
      for (const each of MODEL_STATES) metric.set({ model: id, source, state: each }, each === state ? 1 : 0);
    }
  });
  gauge("muster_model_bytes", "Bytes of a model when it is complete.", ["model"], (metric) => {
    for (const { id, bytesTotal } of current.models) metric.set({ model: id }, bytesTotal);
  });
  gauge("muster_model_stored_bytes", "Bytes of a model that are on the volume.", ["model"], (metric) => {
    for (const { id, bytesDone } of current.models) metric.set({ model: id }, bytesDone);
  });
  gauge("muster_model_fetch_bytes_per_second", "Rate at which a model comes in.", ["model"], (metric) => {
    for (const { id, rate } of current.models) metric.set({ model: id }, rate);
  });
  gauge("muster_gpu_memory_total_bytes", "Memory of a GPU.", ["gpu", "uuid"], (metric) => {
    for (const { index, uuid, memoryTotalMiB } of current.hardware?.gpus ?? []) {
      if (memoryTotalMiB !== null) metric.set({ gpu: String(index), uuid }, memoryTotalMiB * 2 ** 20);
    }
  });
  gauge("muster_jobs_running", "Jobs under way.", ["kind", "model"], (metric) => {
    for (const { kind, model } of current.jobs) metric.inc({ kind, model });
  });
  countJobs(board, registry);
  gauge("muster_volume_size_bytes", "Size of the volume's file system.", [], (metric) => {
    if (current.volume) metric.set(current.volume.sizeBytes);
  });
  gauge("muster_volume_free_bytes", "Bytes of it that are free.", [], (metric) => {
    if (current.volume) metric.set(current.volume.freeBytes);
  });
  gauge("muster_cache_bytes", "Bytes that models take on the volume, each once.", [], (metric) => {
    if (current.volume) metric.set(current.volume.modelBytes);
  });
  gauge("muster_cache_models", "Models that have a record on the volume.", [], (metric) => {
    if (current.volume) metric.set(current.volume.models);
  });
  gauge("muster_scrub_wrong_files", "Files that the last or present check of everything found wrong.", [], (metric) => {
    if (current.volume?.scrub) metric.set(current.volume.scrub.wrongFiles);
  });
  gauge("muster_scrub_finished_timestamp_seconds", "When everything on the volume was last checked.", [], (metric) => {
    const finishedAt = current.volume?.scrub?.finishedAt;
    if (finishedAt) metric.set(Date.parse(finishedAt) / 1000);
  });
  countVolume(board, registry);
  countFetches(board, registry);
  return registry;
}
