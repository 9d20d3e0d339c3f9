import type { ErrorCode } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import type { ModelState } from "../../model.ts";
import { parseReference } from "../../model-reference.ts";
import type { ModelOptions, ModelReport } from "../../protocol.ts";
import type { WorkerRegistry } from "../workers/worker-registry.ts";
import type { WorkerView } from "../workers/worker-view.ts";
import { type ModelView, modelView, type RequestState, type WorkerShare } from "./model-view.ts";
import { rankWorkers } from "./rank-workers.ts";

export interface ModelRequest {
  /** The reference, which is how workers call the model too. */
  model: string;
  options: ModelOptions;
  /** Just these workers; null: `count` of those that can. */
  workers: string[] | null;
  workerType: string | null;
  count: number;
}

interface RequestRecord extends ModelRequest {
  createdAt: number;
  /** Workers that were asked, and in which of their sessions; null: in none yet. */
  asked: Map<string, Asked>;
}

interface Asked {
  epoch: number | null;
  /** What was known of the model before: an old failure is no answer. */
  before: ModelReport | null;
}

export interface Removal {
  id: string;
  workers: { id: string; told: boolean }[];
}

/** Answers after which another worker may still be able to. Others (gated, no space …) would repeat, or pass by themselves. */
const REFUSALS: ReadonlySet<string> = new Set<ErrorCode>([
  ...(["MODEL_NOT_ALLOWED", "MODEL_UNKNOWN", "UNSUPPORTED", "NOTHING_FITS", "DRAINING"] as const),
]);

const ORDER: readonly ModelState[] = ["failed", "requested", "fetching", "stored", "loading", "ready"];

/**
 * Models that were asked for at run time, in memory: who has been asked, and how far they are by what workers report. Workers
 * remember by themselves, so that a coordinator that starts anew loses only who asked.
 */
export class ModelRequests {
  readonly #workers: Pick<WorkerRegistry, "send" | "list">;
  readonly #log: Logger;
  readonly #requests = new Map<string, RequestRecord>();

  constructor({ workers, log }: { workers: Pick<WorkerRegistry, "send" | "list">; log: Logger }) {
    this.#workers = workers;
    this.#log = log;
  }

  /** Asks for it, anew where it was asked for before. Null where no connected worker could be asked. */
  submit(request: ModelRequest): ModelView | null {
    const before = this.#requests.get(request.model);
    const record: RequestRecord = { ...request, createdAt: before?.createdAt ?? Date.now(), asked: new Map() };
    for (const id of request.workers ?? []) record.asked.set(id, { epoch: null, before: null });
    if (!request.workers && this.#candidates(record).length === 0) return null;
    this.#requests.set(request.model, record);
    this.#pursue(record);
    return this.#show(record);
  }

  /** By its id, or what it is called at its source; "/" may be written "-". Also of models that nobody asked for here. */
  get(name: string): ModelView | null {
    const id = this.#idOf(name);
    if (id === null) return null;
    const record = this.#requests.get(id);
    if (record) return this.#show(record);
    const shares = this.#workers.list().flatMap((worker) => shareOf(worker, id) ?? []);
    const state = toState(furthest(shares, 1)[0]?.state ?? "failed");
    return modelView({ id, createdAt: null, state, shares });
  }

  /** Has the workers that have it remove it. Null where there is none. */
  remove(name: string): Removal | null {
    const id = this.#idOf(name);
    if (id === null) return null;
    const record = this.#requests.get(id);
    this.#requests.delete(id);
    const workers = this.#workers.list().flatMap((worker) => {
      const report = reportOf(worker, id);
      if (!report && !record?.asked.has(worker.id)) return [];
      const told = this.#workers.send(worker.id, { t: "models.remove", models: [report?.model ?? id] });
      return [{ id: worker.id, told }];
    });
    return { id, workers };
  }

  /** Asks again who came back without it, and others in place of those that cannot. To be called often. */
  sweep(): void {
    for (const record of this.#requests.values()) this.#pursue(record);
  }

  #pursue(record: RequestRecord): void {
    const workers = this.#workers.list();
    for (const [id, asked] of record.asked) {
      const worker = workers.find((each) => each.id === id);
      // Forgotten: it did not come back in time.
      if (!worker && !record.workers) record.asked.delete(id);
      if (!worker?.connected || worker.epoch === asked.epoch) continue;
      if (asked.epoch === null || !reportOf(worker, record.model)) this.#ask(record, worker);
      else asked.epoch = worker.epoch;
    }
    if (record.workers) return;
    const hopeful = this.#shares(record).filter(({ error }) => !error || !REFUSALS.has(error.code)).length;
    for (const worker of this.#candidates(record).slice(0, Math.max(0, record.count - hopeful)))
      this.#ask(record, worker);
  }

  #ask(record: RequestRecord, worker: WorkerView): void {
    const { model, options, asked } = record;
    const told = Object.keys(options).length > 0 ? { options: { [model]: options } } : {};
    if (!this.#workers.send(worker.id, { t: "models.ensure", models: [model], ...told })) return;
    asked.set(worker.id, { epoch: worker.epoch, before: reportOf(worker, model) });
    this.#log.info({ model, workerId: worker.id }, "Asked a worker for a model");
  }

  /** Who could be asked still, the best first. */
  #candidates({ model, workerType, asked, workers }: RequestRecord): WorkerView[] {
    if (workers) return [];
    const able = this.#workers
      .list()
      .filter(({ id, connected, state }) => connected && !["draining", "stopped"].includes(state) && !asked.has(id))
      .filter((worker) => workerType === null || worker.workerType === workerType);
    return rankWorkers(able, (worker) => ORDER.indexOf(reportOf(worker, model)?.state ?? "failed"));
  }

  #show(record: RequestRecord): ModelView {
    const { model: id, createdAt, count, workers } = record;
    const shares = this.#shares(record);
    const wanted = workers?.length ?? count;
    const alive = furthest(shares, wanted);
    const isLost = alive.length < wanted && this.#candidates(record).length === 0;
    const state = isLost ? "failed" : alive.length < wanted ? "requested" : toState(alive.at(-1)!.state);
    return modelView({ id, createdAt, state, shares });
  }

  #shares({ model, asked }: RequestRecord): WorkerShare[] {
    const workers = this.#workers.list();
    return [...asked].map(([id, { before }]) => {
      const worker = workers.find((each) => each.id === id);
      const share = worker && shareOf(worker, model);
      const isAnswered = share && !(share.state === "failed" && reportOf(worker, model) === before);
      return isAnswered ? share : { ...nothingYet(id), connected: worker?.connected ?? false };
    });
  }

  /** Exact names come before those with "-" for "/". */
  #idOf(name: string): string | null {
    const ids = [...this.#requests.keys()].map((id) => [id, parseReference(id)?.location ?? id] as const);
    const reported = this.#workers
      .list()
      .flatMap(({ models }) =>
        models.flatMap(({ model, location, asked = [] }) =>
          [model, location, ...asked].map((each) => [model, each] as const),
        ),
      );
    const all = [...ids.map(([id]) => [id, id] as const), ...ids, ...reported];
    const found = all.find(([, each]) => each === name) ?? all.find(([, each]) => each.replaceAll("/", "-") === name);
    return found?.[0] ?? null;
  }
}

function reportOf({ models }: WorkerView, id: string): ModelReport | null {
  return models.find(({ model }) => model === id) ?? models.find(({ asked }) => asked?.includes(id)) ?? null;
}

function shareOf(worker: WorkerView, id: string): WorkerShare | null {
  const report = reportOf(worker, id);
  if (!report) return null;
  const { state, bytesDone, bytesTotal, rate, errorCode, error } = report;
  return {
    ...{ id: worker.id, connected: worker.connected, state, bytesDone, bytesTotal, rate },
    error: errorCode === null ? null : { code: errorCode, message: error ?? errorCode },
  };
}

function nothingYet(id: string): WorkerShare {
  return { id, connected: true, state: "requested", bytesDone: 0, bytesTotal: 0, rate: 0, error: null };
}

/** The most advanced ones, without those that have failed. */
function furthest(shares: readonly WorkerShare[], count: number): WorkerShare[] {
  return shares
    .filter(({ state }) => state !== "failed")
    .toSorted((a, b) => ORDER.indexOf(b.state) - ORDER.indexOf(a.state))
    .slice(0, count);
}

function toState(state: ModelState): RequestState {
  return state === "ready" ? "succeeded" : state;
}
