import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { MusterError } from "../../errors.ts";
import type { FromLane, LaneOptions, NoteLevel, ToLane, TransferJob } from "./job.ts";

export interface TransferCallbacks {
  signal?: AbortSignal;
  onBytes?: (count: number) => void;
  onNote?: (message: string, level: NoteLevel) => void;
}

interface Pending {
  callbacks: TransferCallbacks;
  resolve: (matches: boolean) => void;
  reject: (error: MusterError) => void;
}

interface Lane {
  worker: Worker;
  jobs: Map<number, Pending>;
  bytes: number;
}

/** The transfer threads. Each takes whole files; they start with the first job and end with `close`. */
export class Lanes {
  readonly #options: LaneOptions;
  readonly #count: number;
  readonly #lanes: Lane[] = [];
  #nextId = 1;

  constructor(options: LaneOptions) {
    this.#count = Math.min(2, availableParallelism(), options.connections);
    this.#options = { ...options, connections: Math.max(1, Math.floor(options.connections / this.#count)) };
  }

  /** Runs the job. Gives whether the digest matches (always true for a fetch, which fails otherwise). Throws MusterError. */
  run(job: TransferJob, callbacks: TransferCallbacks): Promise<boolean> {
    callbacks.signal?.throwIfAborted();
    const lane = this.#leastLoaded();
    const id = this.#nextId++;
    const post = (message: ToLane) => lane.worker.postMessage(message);
    const cancel = () => post({ type: "cancel", id });
    callbacks.signal?.addEventListener("abort", cancel, { once: true });
    lane.bytes += job.size;
    const finished = new Promise<boolean>((resolve, reject) => {
      lane.jobs.set(id, { callbacks, resolve, reject });
      post({ type: "start", id, job });
    });
    return finished.finally(() => {
      lane.bytes -= job.size;
      callbacks.signal?.removeEventListener("abort", cancel);
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#lanes.splice(0).map(({ worker }) => worker.terminate()));
  }

  #leastLoaded(): Lane {
    const idle = this.#lanes.find((lane) => lane.jobs.size === 0);
    if (!idle && this.#lanes.length < this.#count) this.#lanes.push(this.#start());
    return idle ?? this.#lanes.reduce((least, lane) => (lane.bytes < least.bytes ? lane : least));
  }

  #start(): Lane {
    // Sources run as they are; in the bundle the thread is a file beside this one.
    const file = import.meta.url.endsWith(".ts") ? "./lane.ts" : "./lane.js";
    const worker = new Worker(new URL(file, import.meta.url), { workerData: this.#options, execArgv: [] });
    const lane: Lane = { worker, jobs: new Map(), bytes: 0 };
    worker.on("message", (message: FromLane) => receive(lane, message));
    worker.on("error", (cause) => this.#fail(lane, cause));
    worker.on("exit", () => this.#fail(lane, new Error("the thread ended")));
    return lane;
  }

  #fail(lane: Lane, cause: unknown): void {
    const index = this.#lanes.indexOf(lane);
    if (index >= 0) this.#lanes.splice(index, 1);
    for (const { reject } of lane.jobs.values()) {
      reject(
        new MusterError("INTERNAL", "A transfer thread ended unexpectedly.", {
          hint: "Run it again; report it with LOG_LEVEL=debug if it stays.",
          cause,
        }),
      );
    }
    lane.jobs.clear();
  }
}

function receive(lane: Lane, message: FromLane): void {
  const pending = lane.jobs.get(message.id);
  if (!pending) return;
  switch (message.type) {
    case "progress":
      pending.callbacks.onBytes?.(message.bytes);
      break;
    case "note":
      pending.callbacks.onNote?.(message.message, message.level);
      break;
    case "done":
      lane.jobs.delete(message.id);
      pending.resolve(message.matches);
      break;
    case "failed":
      lane.jobs.delete(message.id);
      pending.reject(MusterError.fromJSON(message.error));
  }
}
