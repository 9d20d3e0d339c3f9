import type { JobRecord } from "../jobs/job-record.ts";
import { isFinal } from "../jobs/job-record.ts";
import type { WorkerView } from "../workers/worker-view.ts";
import type { FleetHello, JobCounts, LostWorker } from "./fleet-events.ts";
import { summarizeJob, summarizeWorker } from "./summaries.ts";
import { THROUGHPUT, Throughput } from "./throughput.ts";
import { type Sink, Watcher } from "./watcher.ts";

/** Where the feed looks when somebody watches. */
export interface FleetSource {
  workers(): WorkerView[];
  worker(id: string): WorkerView | null;
  jobCounts(): JobCounts;
  /** Newest first. */
  latestJobs(limit: number): Promise<JobRecord[]>;
}

const TICK_MS = 1_000;
/** Ticks without a word until a comment shows that the stream lives. */
const HEARTBEAT_TICKS = 15;
const JOBS_KEPT = 200;
const LOST_KEPT = 50;

/**
 * What goes on in the fleet, for whoever watches: the whole of it first, then what changed, at most once a second. Changes are
 * only noted as they come; they are summed up once for all who watch, and not at all while nobody does.
 */
export class FleetFeed {
  readonly #source: FleetSource;
  readonly #version: string;
  readonly #throughput = new Throughput();
  readonly #watchers = new Set<Watcher>();
  /** As they were last told; empty while nobody watches. */
  readonly #workers = new Map<string, string>();
  readonly #jobs = new Map<string, string>();
  readonly #dirty = new Set<string>();
  #lost: LostWorker[] = [];
  #frame = "";
  #quiet = 0;
  #timer: NodeJS.Timeout | null = null;

  /** `version`: of the coordinator. */
  constructor(source: FleetSource, version: string) {
    this.#source = source;
    this.#version = version;
  }

  get watching(): number {
    return this.#watchers.size;
  }

  /** Something of this worker is new, or it is gone. */
  workerChanged(id: string): void {
    if (this.#timer) this.#dirty.add(id);
  }

  /** A worker was forgotten that had not said goodbye. */
  workerLost(id: string, type: string): void {
    const lost = { id, type, at: Date.now() };
    this.#lost = [...this.#lost.slice(1 - LOST_KEPT), lost];
    for (const watcher of this.#watchers) watcher.lost.push(lost);
  }

  jobChanged(job: JobRecord): void {
    if (isFinal(job.state)) this.#throughput.ended(job.state);
    if (this.#timer) this.#noteJob(job);
  }

  /** Sends what there is, then what changes, until the sink ends. */
  async watch(sink: Sink): Promise<void> {
    // Begun before the store is asked: what changes meanwhile is newer than its answer.
    if (!this.#timer) this.#begin();
    const watcher = new Watcher(sink, { worker: (id) => this.#workers.get(id), job: (id) => this.#jobs.get(id) });
    this.#watchers.add(watcher);
    sink.onEnd(() => this.#leave(watcher));
    await this.#fillJobs();
    const hello: FleetHello = {
      ...{ version: this.#version, now: Date.now(), workers: this.#workers.size },
      ...{ stepMs: THROUGHPUT.stepMs, lost: this.#lost },
    };
    watcher.begin(JSON.stringify(hello), { workers: this.#workers.keys(), jobs: this.#jobs.keys() });
    watcher.send(this.#numbers());
  }

  /** Ends all streams. */
  close(): void {
    for (const watcher of this.#watchers) watcher.end();
  }

  #begin(): void {
    for (const view of this.#source.workers()) this.#workers.set(view.id, JSON.stringify(summarizeWorker(view)));
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  #leave(watcher: Watcher): void {
    this.#watchers.delete(watcher);
    if (this.#watchers.size > 0) return;
    if (this.#timer) clearInterval(this.#timer);
    this.#timer = null;
    for (const kept of [this.#workers, this.#jobs, this.#dirty]) kept.clear();
  }

  async #fillJobs(): Promise<void> {
    if (this.#jobs.size >= JOBS_KEPT) return;
    const stored = await this.#source.latestJobs(JOBS_KEPT).catch(() => []);
    const newer = new Map(this.#jobs);
    this.#jobs.clear();
    for (const job of stored.toReversed()) this.#jobs.set(job.id, JSON.stringify(summarizeJob(job)));
    for (const [id, text] of newer) this.#keepJob(id, text);
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
    for (const id of this.#dirty) {
      const view = this.#source.worker(id);
      const text = view ? JSON.stringify(summarizeWorker(view)) : undefined;
      if (text === this.#workers.get(id)) continue;
      if (text === undefined) this.#workers.delete(id);
      else this.#workers.set(id, text);
      for (const watcher of this.#watchers) watcher.workers.add(id);
    }
    this.#dirty.clear();
    const before = this.#frame;
    const numbers = this.#numbers();
    let sent = false;
    for (const watcher of this.#watchers) if (watcher.send(numbers === before ? "" : numbers)) sent = true;
    this.#quiet = sent ? 0 : this.#quiet + 1;
    if (this.#quiet < HEARTBEAT_TICKS) return;
    this.#quiet = 0;
    for (const watcher of this.#watchers) watcher.heartbeat();
  }

  /** As parts of a JSON object. */
  #numbers(): string {
    const throughput = this.#throughput.points();
    this.#frame = JSON.stringify({ counts: this.#source.jobCounts(), throughput }).slice(1, -1);
    return this.#frame;
  }
}
