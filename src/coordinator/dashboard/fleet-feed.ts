import type { WorkerDirectory } from "../backend.ts";
import type { JobRecord } from "../jobs/job-record.ts";
import type { Jobs } from "../jobs/jobs.ts";
import type { FleetCounts, FleetHello } from "./fleet-events.ts";
import type { FleetHistory } from "./fleet-history.ts";
import { summarizeJob, summarizeWorker } from "./summaries.ts";
import { THROUGHPUT } from "./throughput.ts";
import { type Sink, Watcher } from "./watcher.ts";

export interface FleetFeedOptions {
  /** Of the coordinator. */
  version: string;
  history: FleetHistory;
  registry: Pick<WorkerDirectory, "list" | "get">;
  jobs: Pick<Jobs, "counts" | "waiting" | "list">;
}

const TICK_MS = 1_000;
/** Ticks without a word until a comment shows that the stream lives. */
const HEARTBEAT_TICKS = 15;
const JOBS_KEPT = 200;

/**
 * What goes on in the fleet, for whoever watches: the whole of it first, then what changed, at most once a second. Changes are
 * only noted as they come; they are summed up once for all who watch, and not at all while nobody does.
 */
export class FleetFeed {
  readonly #options: FleetFeedOptions;
  readonly #watchers = new Set<Watcher>();
  /** As JSON, as they were last told; null before the first time. Empty while nobody watches. */
  readonly #workers = new Map<string, string | null>();
  readonly #jobs = new Map<string, string>();
  readonly #changed = new Set<string>();
  #numbers = "";
  #quiet = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: FleetFeedOptions) {
    this.#options = options;
  }

  get watchers(): number {
    return this.#watchers.size;
  }

  /** Sends what there is, then what changes, until the sink ends. */
  async watch(sink: Sink): Promise<void> {
    // Begun before the store is asked: what changes meanwhile is newer than its answer.
    if (!this.#timer) this.#begin();
    const watcher = new Watcher(sink, { worker: (id) => this.#workerText(id), job: (id) => this.#jobs.get(id) });
    this.#watchers.add(watcher);
    sink.onEnd(() => this.#leave(watcher));
    await this.#fillJobs();
    if (!this.#watchers.has(watcher)) return;
    const { version, history } = this.#options;
    const hello: FleetHello = {
      ...{ version, now: Date.now(), workers: this.#workers.size },
      ...{ stepMs: THROUGHPUT.stepMs, lost: [...history.lost] },
    };
    watcher.begin(JSON.stringify(hello), { workers: this.#workers.keys(), jobs: this.#jobs.keys() });
    watcher.send(this.#countNumbers());
  }

  #begin(): void {
    const { history, registry } = this.#options;
    for (const { id } of registry.list()) this.#workers.set(id, null);
    history.listener = {
      worker: (id) => this.#changed.add(id),
      lost: (worker) => {
        for (const watcher of this.#watchers) watcher.lost.push(worker);
      },
      job: (job) => this.#noteJob(job),
    };
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  #leave(watcher: Watcher): void {
    this.#watchers.delete(watcher);
    if (this.#watchers.size > 0 || !this.#timer) return;
    clearInterval(this.#timer);
    this.#timer = null;
    this.#options.history.listener = null;
    for (const kept of [this.#workers, this.#jobs, this.#changed]) kept.clear();
  }

  async #fillJobs(): Promise<void> {
    if (this.#jobs.size >= JOBS_KEPT) return;
    // A store that cannot answer now says so to those who ask for jobs.
    const stored = await this.#options.jobs.list({ limit: JOBS_KEPT }).catch(() => []);
    if (!this.#timer) return;
    const newer = new Map(this.#jobs);
    this.#jobs.clear();
    for (const job of stored.toReversed()) this.#jobs.set(job.id, JSON.stringify(summarizeJob(job)));
    for (const [id, text] of newer) this.#keepJob(id, text);
  }

  /** Put into words as it is sent, so that a large fleet does not hold all else up. Undefined where it is gone. */
  #workerText(id: string): string | undefined {
    const known = this.#workers.get(id);
    if (known !== null) return known;
    const view = this.#options.registry.get(id);
    const text = view ? JSON.stringify(summarizeWorker(view)) : undefined;
    if (text !== undefined) this.#workers.set(id, text);
    return text;
  }

  #noteJob(job: JobRecord): void {
    this.#keepJob(job.id, JSON.stringify(summarizeJob(job)));
    for (const watcher of this.#watchers) watcher.jobs.add(job.id);
  }

  #keepJob(id: string, text: string): void {
    this.#jobs.set(id, text);
    for (const [oldest] of this.#jobs) {
      if (this.#jobs.size <= JOBS_KEPT) break;
      this.#jobs.delete(oldest);
    }
  }

  #tick(): void {
    for (const id of this.#changed) {
      const view = this.#options.registry.get(id);
      const text = view ? JSON.stringify(summarizeWorker(view)) : undefined;
      if (text === this.#workers.get(id)) continue;
      if (text === undefined) this.#workers.delete(id);
      else this.#workers.set(id, text);
      for (const watcher of this.#watchers) watcher.workers.add(id);
    }
    this.#changed.clear();
    const before = this.#numbers;
    const numbers = this.#countNumbers();
    let said = false;
    for (const watcher of this.#watchers) said = watcher.send(numbers === before ? "" : numbers) || said;
    this.#quiet = said ? 0 : this.#quiet + 1;
    if (this.#quiet < HEARTBEAT_TICKS) return;
    this.#quiet = 0;
    for (const watcher of this.#watchers) watcher.heartbeat();
  }

  /** As members of a JSON object. */
  #countNumbers(): string {
    const { history, jobs } = this.#options;
    const counts: FleetCounts = { ...jobs.counts(), queuedByKind: jobs.waiting().byKind };
    this.#numbers = JSON.stringify({ counts, throughput: history.throughput.points() }).slice(1, -1);
    return this.#numbers;
  }
}
