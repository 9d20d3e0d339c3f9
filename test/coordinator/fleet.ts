import { type Coordinator, type CoordinatorOptions, startCoordinator } from "../../src/coordinator/coordinator.ts";
import type { Slots } from "../../src/job.ts";
import type { ModelSpec, Task } from "../../src/model.ts";
import { startRegistration } from "../../src/register/register.ts";
import { openAiEngine } from "../../src/serve/engines/openai.ts";
import { createJobServer } from "../../src/serve/job-server.ts";
import { createStatusBoard, type StatusBoard } from "../../src/status.ts";
import { type OpenAiEngine, startOpenAiEngine } from "../fakes/openai-engine.ts";
import { HARDWARE, memoryOutbox, quietLog } from "../register/worker.ts";
import { until } from "../until.ts";

/** A coordinator, and workers that run jobs on engines as the agent does, in this process. */
export interface Fleet extends AsyncDisposable {
  coordinator: Coordinator;
  /** Of the first worker. */
  engine: OpenAiEngine;
  addWorker(options?: WorkerOptions): Promise<FleetWorker>;
}

export interface FleetWorker extends AsyncDisposable {
  board: StatusBoard;
  engine: OpenAiEngine;
}

export interface WorkerOptions {
  workerId?: string;
  token?: string | null;
  slots?: Slots;
  /** Tasks by id of the model. */
  models?: Record<string, Task>;
}

const SLOTS: Slots = { chat: 4, completion: 4, embedding: 4, ocr: 1 };
const MODELS: Record<string, Task> = { tiny: "chat", vectors: "embedding", eyes: "vision" };

export async function startFleet(
  options: Partial<CoordinatorOptions> = {},
  worker: WorkerOptions | null = {},
): Promise<Fleet> {
  await using starting = new AsyncDisposableStack();
  const coordinator = starting.use(
    await startCoordinator({
      ...{ host: "127.0.0.1", port: 0, workerToken: null, clientToken: null, log: quietLog, beatMs: 200 },
      ...options,
    }),
  );
  const addWorker = async (given: WorkerOptions = {}) => starting2.use(await startFleetWorker(coordinator, given));
  const starting2 = starting.use(new AsyncDisposableStack());
  const engine = worker ? (await addWorker(worker)).engine : starting2.use(await startOpenAiEngine());
  const running = starting.move();
  return { coordinator, engine, addWorker, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

async function startFleetWorker(
  coordinator: Coordinator,
  { workerId = "worker-1", token = null, slots = SLOTS, models = MODELS }: WorkerOptions,
): Promise<FleetWorker> {
  await using starting = new AsyncDisposableStack();
  const engine = starting.use(await startOpenAiEngine());
  engine.models = Object.keys(models);
  const board = createStatusBoard({ version: "1.2.3", workerId, bootId: crypto.randomUUID(), workerType: "test" });
  const client = openAiEngine({ kind: "openai", url: engine.url, apiKey: null });
  const server = createJobServer({
    ...{ board, log: quietLog, slots, logPayloads: false },
    engineOf: (id) => ({ engine: client, model: { id, task: models[id] ?? "chat", name: id, context: null } }),
  });
  starting.defer(() => server.close());
  const specs = Object.entries(models).map(
    ([id, task]) => ({ id, task, slots: null, variant: { source: "huggingface", location: `org/${id}` } }) as ModelSpec,
  );
  board.update({ hardware: HARDWARE });
  for (const { id } of specs) board.setModel(id, { state: "ready", location: `org/${id}`, engine: "openai" });
  board.update({ state: "syncing" });
  server.serve(specs, slots);
  const stop = new AbortController();
  const registration = startRegistration({
    ...{ url: coordinator.wsUrl, token: async () => token, board, runner: server, outbox: memoryOutbox() },
    ...{ log: quietLog, diskFree: async () => 5e9, onCommand: () => undefined, reconnect: { minMs: 1, maxMs: 20 } },
    signal: stop.signal,
  });
  starting.defer(async () => {
    stop.abort();
    await registration.ended;
  });
  await until(`${workerId} is ready`, () => coordinator.workers().some(({ id, ready }) => id === workerId && ready));
  const running = starting.move();
  return { board, engine, [Symbol.asyncDispose]: () => running.disposeAsync() };
}
