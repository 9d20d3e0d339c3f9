/**
 * What the page knows of the fleet, and what follows from it.
 * @import { FleetChange, FleetCounts, FleetHello, LostWorker } from "../fleet-events.ts"
 * @import { JobSummary, ModelSummary, WorkerSummary } from "../summaries.ts"
 * @import { ThroughputPoint } from "../throughput.ts"
 */

/** Of a worker, as a person would say it; worst last. */
export const STATUSES = /** @type {const} */ ([
  "ready",
  "syncing",
  "starting",
  "paused",
  "unready",
  "stopped",
  "draining",
  "lost",
]);
/** @typedef {(typeof STATUSES)[number]} Status */

/** @type {Record<Status, string>} */
export const STATUS_NAMES = {
  ready: "Ready",
  syncing: "Fetching models",
  starting: "Starting",
  paused: "Paused",
  unready: "Not ready",
  stopped: "Stopped",
  draining: "Draining",
  lost: "Not connected",
};

/**
 * @param {Pick<WorkerSummary, "connected" | "ready" | "state">} worker
 * @returns {Status}
 */
export function statusOf({ connected, ready, state }) {
  if (!connected) return "lost";
  if (state === "draining" || state === "paused" || state === "stopped") return state;
  if (ready) return "ready";
  return state === "ready" ? "unready" : state;
}

const JOBS_KEPT = 200;
const LOST_SHOWN_MS = 3_600_000;

const byName = new Intl.Collator("en", { numeric: true }).compare;

export class Fleet {
  /** @type {string[] | null} */
  #names = null;
  /** @type {Map<string, WorkerSummary>} */
  workers = new Map();
  /** Oldest first. @type {Map<string, JobSummary>} */
  jobs = new Map();
  /** @type {FleetCounts} */
  counts = { queued: 0, assigned: 0, queuedByKind: null };
  /** @type {ThroughputPoint[]} */
  throughput = [];
  /** @type {LostWorker[]} */
  lost = [];
  version = "";
  stepMs = 5_000;
  /** Of the coordinator's clock against this one. */
  skewMs = 0;
  /** Everything has been told once. */
  isComplete = false;

  /**
   * A stream begins: what it does not tell again is gone.
   * @param {FleetHello} hello
   */
  begin({ version, now, stepMs, lost }) {
    Object.assign(this, { version, stepMs, lost, skewMs: now - Date.now(), isComplete: false });
    this.workers = new Map();
    this.jobs = new Map();
    this.#names = null;
  }

  /** @param {FleetChange} change */
  apply({ workers = [], gone = [], jobs = [], lost = [], counts, throughput }) {
    for (const worker of workers) {
      if (!this.workers.has(worker.id)) this.#names = null;
      this.workers.set(worker.id, worker);
    }
    for (const id of gone) if (this.workers.delete(id)) this.#names = null;
    for (const job of jobs) this.jobs.set(job.id, job);
    for (const [oldest] of this.jobs) {
      if (this.jobs.size <= JOBS_KEPT) break;
      this.jobs.delete(oldest);
    }
    this.lost.push(...lost);
    if (counts) this.counts = counts;
    if (throughput) this.throughput = throughput;
  }

  /** Workers by name; sorted anew only where one has come or gone. */
  sorted() {
    this.#names ??= [...this.workers.keys()].sort(byName);
    return this.#names.flatMap((id) => this.workers.get(id) ?? []);
  }

  /** The coordinator's time, in milliseconds. */
  now() {
    return Date.now() + this.skewMs;
  }
}

/**
 * Sums over workers.
 * @param {Iterable<WorkerSummary>} workers
 */
export function totalsOf(workers) {
  const totals = {
    workers: 0,
    ready: 0,
    unready: 0,
    draining: 0,
    lost: 0,
    gpus: 0,
    usedMiB: 0,
    totalMiB: 0,
    slots: 0,
    busy: 0,
  };
  for (const worker of workers) {
    const status = statusOf(worker);
    totals.workers += 1;
    totals[status === "ready" || status === "draining" || status === "lost" ? status : "unready"] += 1;
    if (!worker.connected) continue;
    totals.slots += worker.slots;
    totals.busy += usedSlots(worker);
    for (const { usedMiB, totalMiB } of worker.gpus) {
      totals.gpus += 1;
      if (usedMiB === null || totalMiB === null) continue;
      totals.usedMiB += usedMiB;
      totals.totalMiB += totalMiB;
    }
  }
  return totals;
}

/**
 * Free slots are told only while a worker takes jobs; elsewhere it is not known how many are in use.
 * @param {WorkerSummary} worker
 */
export function usedSlots(worker) {
  return worker.connected && worker.ready ? Math.max(0, worker.slots - worker.slotsFree) : 0;
}

/**
 * @typedef {object} FleetModel
 * @property {string} model
 * @property {Map<ModelSummary["state"], number>} states How many workers have it in which state.
 * @property {{ workers: number, bytesDone: number, bytesTotal: number, rate: number, leftMs: number | null }} fetching
 */

/**
 * Models over connected workers, by name.
 * @param {Iterable<WorkerSummary>} workers
 * @returns {FleetModel[]}
 */
export function modelsOf(workers) {
  /** @type {Map<string, FleetModel>} */
  const models = new Map();
  for (const worker of workers) {
    if (!worker.connected) continue;
    for (const { model, state, bytesDone, bytesTotal, rate } of worker.models) {
      let entry = models.get(model);
      if (!entry) {
        entry = {
          model,
          states: new Map(),
          fetching: { workers: 0, bytesDone: 0, bytesTotal: 0, rate: 0, leftMs: null },
        };
        models.set(model, entry);
      }
      entry.states.set(state, (entry.states.get(state) ?? 0) + 1);
      if (state !== "fetching") continue;
      const { fetching } = entry;
      fetching.workers += 1;
      fetching.bytesDone += bytesDone;
      fetching.bytesTotal += bytesTotal;
      fetching.rate += rate;
      // The slowest one counts: until it is there the model is not everywhere.
      if (rate > 0)
        fetching.leftMs = Math.max(fetching.leftMs ?? 0, (1000 * Math.max(0, bytesTotal - bytesDone)) / rate);
    }
  }
  return [...models.values()].sort((a, b) => a.model.localeCompare(b.model));
}

/**
 * @typedef {object} Alert
 * @property {string} key
 * @property {"bad" | "warn"} level
 * @property {string} text
 * @property {string | null} workerId Whose details tell more.
 */

/**
 * What somebody should look at, worst first.
 * @param {Fleet} fleet
 * @returns {Alert[]}
 */
export function alertsOf(fleet) {
  /** @type {Alert[]} */
  const alerts = [];
  /** @type {WorkerSummary[]} */
  const away = [];
  /** @type {Map<string, { model: string, errorCode: string | null, workers: string[] }>} */
  const failed = new Map();
  for (const worker of fleet.workers.values()) {
    if (!worker.connected) {
      away.push(worker);
      continue;
    }
    const lostGpus = worker.gpus.flatMap(({ lost }, index) => (lost ? [index] : []));
    if (lostGpus.length > 0) {
      const text = `GPU ${lostGpus.join(", ")} of ${worker.id} is not seen any more`;
      alerts.push({ key: `gpu ${worker.id}`, level: "bad", text, workerId: worker.id });
    }
    for (const { model, state, errorCode } of worker.models) {
      if (state !== "failed") continue;
      const key = `model ${model} ${errorCode}`;
      const entry = failed.get(key) ?? { model, errorCode, workers: [] };
      entry.workers.push(worker.id);
      failed.set(key, entry);
    }
  }
  for (const [key, { model, errorCode, workers }] of failed) {
    const text = `${model} failed on ${names(workers)}${errorCode ? `: ${errorCode}` : ""}`;
    alerts.push({ key, level: "bad", text, workerId: workers[0] ?? null });
  }
  const since = fleet.now() - LOST_SHOWN_MS;
  const newest = new Map(fleet.lost.map((lost) => [lost.id, lost]));
  for (const { id, type, at } of newest.values()) {
    if (at < since || fleet.workers.has(id)) continue;
    alerts.push({
      key: `lost ${id}`,
      level: "bad",
      text: `${id} (${type}) was lost at ${new Date(at).toLocaleTimeString()}`,
      workerId: null,
    });
  }
  if (away.length > 0) {
    const text = `${names(away.map(({ id }) => id))} ${away.length === 1 ? "is" : "are"} not connected`;
    alerts.push({ key: "away", level: "warn", text, workerId: away[0]?.id ?? null });
  }
  return alerts;
}

/** @param {readonly string[]} ids */
function names(ids) {
  const [shown, rest] = [ids.slice(0, 3), ids.length - 3];
  if (rest > 0) return `${shown.join(", ")} and ${rest} more`;
  return shown.length > 1 ? `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}` : (shown[0] ?? "");
}
