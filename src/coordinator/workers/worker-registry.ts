import type { Logger } from "../../log.ts";
import type { CoordinatorPayload, WorkerFrame } from "../../protocol.ts";
import type { Silence } from "./evictions.ts";
import { type WorkerView, workerView } from "./worker-view.ts";

type Hello = Extract<WorkerFrame, { t: "hello" }>;
type Beat = Extract<WorkerFrame, { t: "beat" }>;
type ModelState = Extract<WorkerFrame, { t: "model.state" }>;

/** The socket of a worker, as the registry needs it. */
export interface Peer {
  /** False where the socket is not open. Throws PAYLOAD_TOO_LARGE. */
  send(payload: CoordinatorPayload): boolean;
  /** Another process took the worker id. */
  supersede(): void;
  /** Ends the socket: the worker is silent, or has a newer one. */
  drop(reason: string): void;
}

/** A place among the workers. Once the worker has a newer session, what this one says counts no more. */
export interface Membership {
  epoch: number;
  /** The worker has no newer session. */
  isCurrent(): boolean;
  beat(frame: Beat): void;
  model(frame: ModelState): void;
  drain(): void;
  bye(): void;
  /** The socket is gone. */
  leave(): void;
}

export interface WorkerRegistry {
  /** Null where a newer process already took over from this one. */
  join(hello: Hello, peer: Peer): Membership | null;
  list(): WorkerView[];
  get(id: string): WorkerView | null;
  /** False where the worker is not connected. */
  send(id: string, payload: CoordinatorPayload): boolean;
  /** The worker is at another gateway now. */
  lose(id: string, to: { sameProcess: boolean }): void;
  silent(): Silence;
  /** Drops sockets that are silent for too long, and where it may the workers; to be called often. */
  sweep(options: { mayForget: boolean }): void;
}

interface WorkerRecord {
  view: WorkerView;
  peer: Peer | null;
  /** Of the monotonic clock, at the last frame. */
  heardAt: number;
  saidBye: boolean;
  /** Processes that lost this worker id, newest last; a late reconnect of one must not win it back. */
  superseded: string[];
}

const SUPERSEDED_KEPT = 16;

export interface RegistryOptions {
  leaseMs: number;
  graceMs: number;
  log: Logger;
  /** Gateways that share workers begin at different ones. */
  firstEpoch?: number;
  /** Something of this worker is new, or it is gone. Called often; to be cheap. */
  onChange?: (id: string) => void;
  /** It was silent for so long that it is forgotten. */
  onLost?: (view: WorkerView) => void;
}

/** The workers by id, in memory. */
export function createWorkerRegistry(options: RegistryOptions): WorkerRegistry {
  const { leaseMs, graceMs, log, firstEpoch = 1, onChange, onLost } = options;
  const workers = new Map<string, WorkerRecord>();
  // One count for all workers, so that it rises even for a worker that was forgotten in between.
  let epochs = firstEpoch - 1;

  return {
    join(hello, peer) {
      const id = hello.workerId;
      const known = workers.get(id);
      if (known?.superseded.includes(hello.bootId)) return null;
      const sameProcess = known?.view.bootId === hello.bootId;
      if (known && !sameProcess) known.superseded.push(known.view.bootId);
      if (sameProcess) known.peer?.drop("replaced by a newer connection");
      else known?.peer?.supersede();

      epochs += 1;
      const record: WorkerRecord = {
        view: workerView(hello, epochs, sameProcess ? known.view : null),
        peer,
        heardAt: performance.now(),
        saidBye: false,
        superseded: known?.superseded.slice(-SUPERSEDED_KEPT) ?? [],
      };
      workers.set(id, record);
      onChange?.(id);
      log.info({ workerId: id, bootId: hello.bootId, epoch: epochs }, "A worker has joined");
      const current = () => workers.get(id) === record;
      return membership(record, {
        current,
        heard() {
          record.heardAt = performance.now();
          if (!current()) return false;
          onChange?.(id);
          return true;
        },
        left() {
          if (!current()) return;
          record.peer = null;
          Object.assign(record.view, { connected: false, ready: false });
          if (record.saidBye) workers.delete(id);
          onChange?.(id);
          log.info({ workerId: id, bye: record.saidBye }, "A worker has left");
        },
      });
    },
    list: () => [...workers.values()].map(({ view }) => ({ ...view })),
    get(id) {
      const known = workers.get(id);
      return known ? { ...known.view } : null;
    },
    send: (id, payload) => workers.get(id)?.peer?.send(payload) ?? false,
    lose(id, { sameProcess }) {
      const known = workers.get(id);
      if (sameProcess) known?.peer?.drop("connected to another gateway");
      else known?.peer?.supersede();
      workers.delete(id);
      onChange?.(id);
    },
    silent() {
      const latest = performance.now() - leaseMs;
      return { silent: [...workers.values()].filter(({ heardAt }) => heardAt < latest).length, total: workers.size };
    },
    sweep({ mayForget }) {
      const now = performance.now();
      for (const [id, { view, peer, heardAt }] of workers) {
        const silentMs = now - heardAt;
        if (peer && silentMs > leaseMs) peer.drop(`silent for ${Math.round(silentMs)} ms`);
        else if (!peer && mayForget && silentMs > leaseMs + graceMs) {
          workers.delete(id);
          onChange?.(id);
          onLost?.(view);
          log.warn({ workerId: id }, "A worker did not come back in time and is forgotten");
        }
      }
    },
  };
}

function membership(record: WorkerRecord, events: { current(): boolean; heard(): boolean; left(): void }): Membership {
  const { view } = record;
  return {
    epoch: view.epoch,
    isCurrent: () => events.current(),
    beat({ state, ready, slotsFree, gpus, diskFreeBytes, loopLagMs }) {
      if (!events.heard()) return;
      view.beats += 1;
      view.lastBeatAt = new Date().toISOString();
      Object.assign(view, { state, ready, vitals: { slotsFree, gpus, diskFreeBytes, loopLagMs } });
    },
    model({ t: _t, id: _id, ts: _ts, removed, ...report }) {
      if (!events.heard()) return;
      if (removed) {
        view.models = view.models.filter(({ model }) => model !== report.model);
        return;
      }
      const position = view.models.findIndex(({ model }) => model === report.model);
      view.models = position < 0 ? [...view.models, report] : view.models.with(position, report);
    },
    drain() {
      if (events.heard()) Object.assign(view, { state: "draining", ready: false });
    },
    bye() {
      if (!events.heard()) return;
      record.saidBye = true;
      Object.assign(view, { state: "stopped", ready: false });
    },
    leave: () => events.left(),
  };
}
