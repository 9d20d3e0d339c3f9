import type { WorkerFrame } from "../../protocol.ts";

type Hello = Extract<WorkerFrame, { t: "hello" }>;
type Beat = Extract<WorkerFrame, { t: "beat" }>;

/** A worker as the HTTP API shows it. */
export interface WorkerView extends Pick<Hello, "bootId" | "workerType" | "agent" | "hardware" | "engines" | "slots"> {
  id: string;
  state: Beat["state"];
  /** May take work: connected, and ready by its own word. */
  ready: boolean;
  connected: boolean;
  /** Times are RFC 3339. */
  registeredAt: string;
  lastBeatAt: string | null;
  epoch: number;
  beats: number;
  models: Hello["models"];
  vitals: Pick<Beat, "slotsFree" | "gpus" | "diskFreeBytes" | "loopLagMs"> | null;
}

/** A worker that has just said hello. `before`: the same process, before it connected anew. */
export function workerView(hello: Hello, epoch: number, before: WorkerView | null): WorkerView {
  const { bootId, workerType, agent, hardware, engines, slots, models, ready } = hello;
  return {
    id: hello.workerId,
    ...{ bootId, workerType, agent, hardware, engines, slots, models, ready, epoch },
    state: before?.state ?? "starting",
    connected: true,
    registeredAt: before?.registeredAt ?? new Date().toISOString(),
    lastBeatAt: before?.lastBeatAt ?? null,
    beats: before?.beats ?? 0,
    vitals: before?.vitals ?? null,
  };
}
