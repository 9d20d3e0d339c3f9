import { collectDefaultMetrics, Gauge, Registry } from "prom-client";
import { MODEL_STATES } from "../model.ts";
import type { StatusBoard } from "../status.ts";

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
  return registry;
}
