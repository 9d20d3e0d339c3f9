import { once } from "node:events";
import { WebSocket } from "ws";
import {
  type CoordinatorFrame,
  encodeFrame,
  SUBPROTOCOL,
  type WorkerFrame,
  type WorkerPayload,
} from "../../src/protocol.ts";

/** A bare socket to the coordinator that sends what it is told and keeps what it gets. */
export interface RawWorker extends Disposable {
  socket: WebSocket;
  frames: CoordinatorFrame[];
  send(payload: WorkerPayload): void;
  closed: Promise<{ code: number; reason: string }>;
}

export async function openRawWorker(url: string, token?: string): Promise<RawWorker> {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const socket = new WebSocket(url, SUBPROTOCOL, { headers });
  const closed = Promise.withResolvers<{ code: number; reason: string }>();
  const frames: CoordinatorFrame[] = [];
  socket.on("message", (data) => frames.push(JSON.parse(data.toString())));
  socket.on("close", (code, reason) => closed.resolve({ code, reason: reason.toString() }));
  await once(socket, "open");
  socket.on("error", () => undefined);
  return {
    socket,
    frames,
    send: (payload) => socket.send(encodeFrame(payload)),
    closed: closed.promise,
    [Symbol.dispose]: () => socket.terminate(),
  };
}

type Hello = Extract<WorkerFrame, { t: "hello" }>;
type Beat = Extract<WorkerFrame, { t: "beat" }>;

export function hello(change: Partial<Hello> = {}): Hello {
  return {
    t: "hello",
    workerId: "worker-1",
    bootId: "boot-1",
    agent: "1.0.0",
    features: [],
    workerType: "chat",
    hardware: {
      gpus: [],
      driverVersion: null,
      cpu: { model: "Test CPU", cores: 2 },
      memory: { totalBytes: 1, availableBytes: 1, limitBytes: null },
    },
    engines: [],
    models: [],
    ready: false,
    slots: { chat: 1 },
    jobs: [],
    results: [],
    ...change,
  };
}

export function beat(n: number, change: Partial<Beat> = {}): Beat {
  return {
    ...{ t: "beat", n, ready: true, state: "ready", slotsFree: { chat: 1 }, gpus: [], diskFreeBytes: 1 },
    ...{ loopLagMs: 0, jobs: [], modelsRevision: 0 },
    ...change,
  };
}
