import type { ErrorCode, ErrorData } from "./errors.ts";
import type { Hardware } from "./hardware.ts";
import type { JobOutcome, JobRef } from "./job.ts";
import type { Engine, JobKind, ModelState, Source } from "./model.ts";

export type AgentState = "starting" | "syncing" | "ready" | "paused" | "draining" | "stopped";

export interface ModelStatus {
  id: string;
  source: Source;
  location: string;
  variant: string;
  engine: Engine;
  revision: string;
  state: ModelState;
  required: boolean;
  bytesDone: number;
  bytesTotal: number;
  /** Bytes a second, over the last seconds. */
  rate: number;
  error: ErrorData | null;
  /** Other names under which a coordinator asked for it. */
  asked: string[];
}

export interface EngineStatus {
  kind: Engine;
  url: string;
  reachable: boolean;
  version: string | null;
}

/** The engine that this agent runs itself. */
export interface SupervisedStatus {
  program: string;
  starts: number;
  running: boolean;
  /** Why it ended last: its exit code, or the signal, and its last lines. Null where it never has. */
  error: ErrorData | null;
}

export interface CoordinatorStatus {
  url: string;
  connected: boolean;
  sessionId: string | null;
  epoch: number | null;
  /** Milliseconds of the clock (Date.now) at the last acknowledged beat. */
  lastAckAt: number | null;
  beatMs: number | null;
  error: string | null;
}

/** The check of everything on the volume, by whichever worker does it. */
export interface ScrubStatus {
  /** RFC 3339; `finishedAt` is null for a round that is not over. */
  startedAt: string;
  finishedAt: string | null;
  checkedBytes: number;
  /** Found in this round. */
  wrongFiles: number;
  /** In this process, now. */
  isRunning: boolean;
}

export interface VolumeStatus {
  sizeBytes: number;
  freeBytes: number;
  /** What models take, with what other tools have put beside them. */
  modelBytes: number;
  /** With a record. */
  models: number;
  scrub: ScrubStatus | null;
}

/** What a fetch has done. */
export type FetchEvent =
  /** `shared`: another model or another tool had them; `discarded`: what came was not right. */
  | { type: "bytes"; outcome: "fetched" | "shared" | "discarded"; bytes: number }
  /** An attempt failed so, and is followed by another. */
  | { type: "retry"; code: ErrorCode }
  /** It is over. `seconds`: since it was known what is missing; null where that never was. */
  | { type: "end"; outcome: "stored" | ErrorCode; seconds: number | null };

/** What happened on the volume, for who counts it. */
export type VolumeEvent =
  /** A record is gone. */
  | { type: "eviction" }
  | { type: "verified"; bytes: number }
  | { type: "wrong-file"; source: Source }
  | { type: "lease-wait"; seconds: number }
  | { type: "fetch"; source: Source; event: FetchEvent };

/** A job that this worker runs. */
export interface RunningJob extends JobRef {
  kind: JobKind;
  /** Id in the catalog. */
  model: string;
  /** RFC 3339. */
  startedAt: string;
  /** Pieces of the answer so far; one that is wanted whole has none. */
  chunks: number;
}

/** How it ended, without what it answered: that is nobody's business here. */
export type JobEnd = Omit<JobOutcome, "output">;

export interface AgentStatus {
  version: string;
  workerId: string;
  bootId: string;
  workerType: string;
  state: AgentState;
  ready: boolean;
  /** RFC 3339. */
  startedAt: string;
  hardware: Hardware | null;
  /** UUIDs of GPUs that were there at the start and are gone. */
  lostGpus: string[];
  models: ModelStatus[];
  engines: EngineStatus[];
  supervised: SupervisedStatus | null;
  /** In the order they began. */
  jobs: RunningJob[];
  coordinator: CoordinatorStatus | null;
  /** Null until it was looked at. */
  volume: VolumeStatus | null;
}

export type StatusEvent =
  | { kind: "agent" }
  | { kind: "model"; model: ModelStatus }
  /** This worker has it no more. */
  | { kind: "removed"; model: ModelStatus }
  /** A job began, or ended so. */
  | { kind: "job"; job: RunningJob; end: JobEnd | null }
  | { kind: "coordinator" }
  | { kind: "volume"; event: VolumeEvent };

/** The one place where the agent's state stands; the steps write to it, the coordinator's session and HTTP read it. */
export interface StatusBoard {
  /** A live view: read it, do not keep it. */
  readonly current: AgentStatus;
  update(change: Partial<Omit<AgentStatus, "models" | "jobs" | "coordinator" | "volume" | "ready">>): void;
  /** Adds the model or merges the change into it. */
  setModel(id: string, change: Partial<Omit<ModelStatus, "id">>): void;
  removeModel(id: string): void;
  /** The job stands on the board, and may be changed there, until it ends. */
  startJob(job: RunningJob): void;
  endJob(job: RunningJob, end: JobEnd): void;
  setCoordinator(change: Partial<CoordinatorStatus> & { url: string }): void;
  setVolume(change: Partial<VolumeStatus>): void;
  note(event: VolumeEvent): void;
  /** Returns the function that unsubscribes. */
  onChange(listener: (event: StatusEvent) => void): () => void;
}

const NEW_MODEL: Omit<ModelStatus, "id"> = {
  source: "huggingface",
  location: "",
  variant: "",
  engine: "vllm",
  revision: "",
  state: "requested",
  required: true,
  bytesDone: 0,
  bytesTotal: 0,
  rate: 0,
  error: null,
  asked: [],
};

export function createStatusBoard(
  start: Pick<AgentStatus, "version" | "workerId" | "bootId" | "workerType">,
): StatusBoard {
  const listeners = new Set<(event: StatusEvent) => void>();
  const models = new Map<string, ModelStatus>();
  const current: AgentStatus = {
    ...start,
    state: "starting",
    ready: false,
    startedAt: new Date().toISOString(),
    hardware: null,
    lostGpus: [],
    models: [],
    engines: [],
    supervised: null,
    jobs: [],
    coordinator: null,
    volume: null,
  };
  const emit = (event: StatusEvent) => {
    for (const listener of listeners) listener(event);
  };
  const settle = () => {
    current.models = [...models.values()];
    const complete = current.models.filter((model) => model.required).every((model) => isStored(model.state));
    // Before the models are chosen there is nothing to be ready for.
    if (current.state === "syncing" && complete) current.state = "ready";
    else if (current.state === "ready" && !complete) current.state = "syncing";
    current.ready = current.state === "ready" && current.lostGpus.length === 0;
  };
  return {
    current,
    update(change) {
      Object.assign(current, change);
      settle();
      emit({ kind: "agent" });
    },
    setModel(id, change) {
      const model: ModelStatus = { ...(models.get(id) ?? { id, ...NEW_MODEL }), ...change };
      models.set(id, model);
      const before = current.state;
      settle();
      emit({ kind: "model", model });
      if (current.state !== before) emit({ kind: "agent" });
    },
    removeModel(id) {
      const model = models.get(id);
      if (!model) return;
      models.delete(id);
      settle();
      emit({ kind: "removed", model });
    },
    startJob(job) {
      current.jobs = [...current.jobs, job];
      emit({ kind: "job", job, end: null });
    },
    endJob(job, end) {
      current.jobs = current.jobs.filter((each) => each !== job);
      emit({ kind: "job", job, end });
    },
    setCoordinator(change) {
      current.coordinator = {
        connected: false,
        sessionId: null,
        epoch: null,
        lastAckAt: null,
        beatMs: null,
        error: null,
        ...current.coordinator,
        ...change,
      };
      emit({ kind: "coordinator" });
    },
    setVolume(change) {
      const nothing = { sizeBytes: 0, freeBytes: 0, modelBytes: 0, models: 0, scrub: null };
      current.volume = { ...nothing, ...current.volume, ...change };
    },
    note: (event) => emit({ kind: "volume", event }),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** Whether its files are on the volume. */
export function isStored(state: ModelState): boolean {
  return state === "stored" || state === "loading" || state === "ready";
}
