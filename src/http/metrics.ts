import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import { MODEL_STATES } from "../model.ts";
import type { StatusBoard } from "../status.ts";

const SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

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
  return registry;
}

/** What ended is told once, so it is counted here rather than read off the board. */
function countJobs(board: StatusBoard, registry: Registry): void {
  const registers = [registry];
  const labelNames = ["kind", "model"] as const;
  const ended = new Counter({
    name: "muster_jobs_total",
    help: "Jobs that ended, by how: done, or the code of the error.",
    labelNames: [...labelNames, "outcome"],
    registers,
  });
  const tokens = new Counter({
    name: "muster_job_tokens_total",
    help: "Tokens of jobs that were done, as the engines counted them.",
    labelNames: [...labelNames, "type"],
    registers,
  });
  const seconds = (name: string, help: string) =>
    new Histogram({ name, help, labelNames, buckets: SECONDS, registers });
  const duration = seconds("muster_job_duration_seconds", "From the start of a job that was done to its end.");
  const firstToken = seconds("muster_job_first_token_seconds", "From the start of a streamed job to its first piece.");
  board.onChange((event) => {
    if (event.kind !== "job" || !event.end) return;
    const { kind, model } = event.job;
    const { status, error, usage = {}, timings = {} } = event.end;
    ended.inc({ kind, model, outcome: error?.code ?? status });
    for (const type of ["prompt", "completion"]) {
      const count = usage[`${type}_tokens`] ?? 0;
      // An engine may say anything, and a counter that is given less than nothing throws.
      if (count > 0) tokens.inc({ kind, model, type }, count);
    }
    if (timings.first_token_ms !== undefined) firstToken.observe({ kind, model }, timings.first_token_ms / 1000);
    if (status === "done" && timings.total_ms !== undefined) duration.observe({ kind, model }, timings.total_ms / 1000);
  });
}

function countVolume(board: StatusBoard, registry: Registry): void {
  const registers = [registry];
  const evictions = new Counter({
    name: "muster_evictions_total",
    help: "Models that went from the volume while this worker watched, whoever removed them.",
    registers,
  });
  const verified = new Counter({
    name: "muster_verified_bytes_total",
    help: "Bytes that this worker has read to check what is stored.",
    registers,
  });
  const failures = new Counter({
    name: "muster_verify_failures_total",
    help: "Files that this worker found not to be as recorded.",
    labelNames: ["source"],
    registers,
  });
  const waits = new Histogram({
    name: "muster_lease_wait_seconds",
    help: "Time for which another process was waited for that was fetching the same model.",
    buckets: SECONDS,
    registers,
  });
  board.onChange((event) => {
    if (event.kind !== "volume") return;
    const { event: what } = event;
    if (what.type === "eviction") evictions.inc();
    else if (what.type === "verified") verified.inc(what.bytes);
    else if (what.type === "wrong-file") failures.inc({ source: what.source });
    else waits.observe(what.seconds);
  });
}
