import { availableParallelism } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { MessageChannel, Worker } from "node:worker_threads";
import { type ErrorCode, MusterError, toMusterError } from "../../errors.ts";
import type { FromLane, LaneData, LaneOptions, NoteLevel, ToLane, TransferJob } from "./job.ts";
import { createLimits, createPace, delayFor, type Pace } from "./limits.ts";

export interface LanesOptions extends LaneOptions {
  /** Bytes a second, of all threads together; null without a limit. */
  bandwidth: number | null;
}

export interface TransferCallbacks {
  signal?: AbortSignal;
  onBytes?: (count: number) => void;
  onNote?: (message: string, level: NoteLevel) => void;
  /** An attempt failed so, and is followed by another. */
  onRetry?: (code: ErrorCode) => void;
}

interface Pending {
  job: TransferJob;
  callbacks: TransferCallbacks;
  resolve: (digest: string | null) => void;
  reject: (error: MusterError) => void;
}

interface Lane {
  worker: Worker;
  jobs: Map<number, Pending>;
  /** Work that it was given: bytes to fetch, and bytes to digest. */
  load: number;
}

/** More threads fill no link that muster is likely to meet. */
const MOST_LANES = 4;
/** Digesting a byte against receiving and writing it. */
const DIGEST_WORK = 1.5;

/** The transfer threads. Each takes whole files, and digests for the others; they start with the first job, or `prepare`, and end with `close`. */
export class Lanes {
  readonly #options: LaneOptions;
  readonly #pace: Pace;
  readonly #count: number;
  #lanes: Lane[] = [];
  #waiting: { id: number; pending: Pending }[] = [];
  #nextId = 1;

  constructor({ bandwidth, ...options }: LanesOptions) {
    this.#count = Math.min(MOST_LANES, availableParallelism());
    this.#pace = createPace(bandwidth);
    this.#options = options;
  }

  /**
   * Runs the job. Gives the digest of the file, hex: that of the job where it names one, and null where a file to digest
   * cannot be read. Throws MusterError.
   */
  run(job: TransferJob, callbacks: TransferCallbacks): Promise<string | null> {
    callbacks.signal?.throwIfAborted();
    const id = this.#nextId++;
    return new Promise<string | null>((resolve, reject) => {
      // Those of one turn are dealt out together, largest first.
      if (this.#waiting.length === 0) setImmediate(() => this.#dealOut());
      this.#waiting.push({ id, pending: { job, callbacks, resolve, reject } });
    });
  }

  /** Starts the threads before there is a job for them: that takes about as long as a source does to answer. */
  prepare(): void {
    try {
      if (this.#lanes.length === 0) this.#start();
    } catch (cause) {
      // The first job is told of it, where it is still so.
      void this.#end(toMusterError(cause));
    }
  }

  /** Keeps bytes that came on another way to the bandwidth of all; settles when they have had their time. Throws the signal's reason. */
  async pace(bytes: number, signal: AbortSignal): Promise<void> {
    const delay = delayFor(bytes, this.#pace);
    if (delay > 0) await sleep(delay, undefined, { signal });
  }

  /** Jobs that are not done are cancelled. */
  async close(): Promise<void> {
    const cancelled = toMusterError(new DOMException("The transfer threads are closed.", "AbortError"));
    for (const { pending } of this.#waiting.splice(0)) pending.reject(cancelled);
    await this.#end(cancelled);
  }

  #dealOut(): void {
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting.splice(0);
    try {
      if (this.#lanes.length === 0) this.#start();
    } catch (cause) {
      // Too many threads or too little memory: what was started is no use alone.
      const error = toMusterError(cause);
      for (const { pending } of waiting) pending.reject(error);
      void this.#end(error);
      return;
    }
    const jobs = waiting.toSorted((a, b) => b.pending.job.size - a.pending.job.size);
    for (const { id, pending } of jobs) this.#give(id, pending);
  }

  #give(id: number, pending: Pending): void {
    const { job, callbacks } = pending;
    const { signal } = callbacks;
    if (signal?.aborted) {
      pending.reject(toMusterError(signal.reason));
      return;
    }
    const fetchers = this.#lanes.slice(0, this.#options.connections);
    const lane = leastLoaded(job.kind === "fetch" ? fetchers : this.#lanes);
    // Where another thread has time, it digests what this one receives; with many files each thread does both.
    const digestWork = job.size * DIGEST_WORK;
    lane.load += job.size;
    const idlest = leastLoaded(this.#lanes);
    const digestLane = job.kind === "fetch" && idlest.load < lane.load ? idlest : lane;
    digestLane.load += digestWork;
    const post = (message: ToLane) => lane.worker.postMessage(message);
    const cancel = () => post({ type: "cancel", id });
    const settle = () => {
      lane.load -= job.size;
      digestLane.load -= digestWork;
      signal?.removeEventListener("abort", cancel);
    };
    signal?.addEventListener("abort", cancel, { once: true });
    lane.jobs.set(id, {
      job,
      callbacks,
      resolve(digest) {
        settle();
        pending.resolve(digest);
      },
      reject(error) {
        settle();
        pending.reject(error);
      },
    });
    post({ type: "start", id, job, digestLane: this.#lanes.indexOf(digestLane) });
  }

  #start(): void {
    const count = this.#count;
    const limits = createLimits(Math.max(0, this.#options.connections - count), this.#pace);
    const channels = Array.from({ length: count }, () => Array.from({ length: count }, () => new MessageChannel()));
    // Sources run as they are; in the bundle the thread is a file beside this one.
    const file = new URL(import.meta.url.endsWith(".ts") ? "./lane.ts" : "./lane.js", import.meta.url);
    for (const [index, own] of channels.entries()) {
      // Where this lane asks, the other answers, by a channel of their own for each direction.
      const peers = own.map(({ port1 }, other) =>
        other === index ? null : { outgoing: port1, incoming: channels[other]![index]!.port2 },
      );
      const workerData: LaneData = { options: this.#options, limits, peers };
      const transferList = peers.flatMap((peer) => (peer ? [peer.outgoing, peer.incoming] : []));
      const worker = new Worker(file, { workerData, transferList, execArgv: [], resourceLimits: HEAP });
      const lane: Lane = { worker, jobs: new Map(), load: 0 };
      worker.on("message", (message: FromLane) => receive(lane, message));
      worker.on("error", (cause) => this.#fail(lane, cause));
      worker.on("exit", () => this.#fail(lane, new Error("the thread ended")));
      this.#lanes.push(lane);
    }
  }

  /** Lanes work for each other: without one of them none goes on. The next job starts new ones. */
  #fail(lane: Lane, cause: unknown): void {
    // The others of those that were ended are gone by and by, when new ones may be at work already.
    if (!this.#lanes.includes(lane)) return;
    void this.#end(
      new MusterError("INTERNAL", "A transfer thread ended unexpectedly.", {
        hint: "Run it again; report it with LOG_LEVEL=debug if it stays.",
        cause,
      }),
    );
  }

  async #end(error: MusterError): Promise<void> {
    const lanes = this.#lanes.splice(0);
    for (const { jobs } of lanes) {
      for (const { reject } of jobs.values()) reject(error);
      jobs.clear();
    }
    await Promise.all(lanes.map(({ worker }) => worker.terminate()));
  }
}

/** Threads hold little besides slots; a small young generation keeps it so. */
const HEAP = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 128 };

function leastLoaded(lanes: readonly Lane[]): Lane {
  return lanes.reduce((least, lane) => (lane.load < least.load ? lane : least));
}

function receive(lane: Lane, message: FromLane): void {
  const pending = lane.jobs.get(message.id);
  if (!pending) return;
  if ("bytes" in message && message.bytes !== 0) pending.callbacks.onBytes?.(message.bytes);
  switch (message.type) {
    case "note":
      pending.callbacks.onNote?.(message.message, message.level);
      break;
    case "retry":
      pending.callbacks.onRetry?.(message.code);
      break;
    case "done":
      lane.jobs.delete(message.id);
      pending.resolve(message.digest);
      break;
    case "failed":
      lane.jobs.delete(message.id);
      pending.reject(MusterError.fromJSON(message.error));
  }
}
