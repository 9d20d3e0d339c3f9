import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { type Coordinator, startCoordinator, type WorkerView } from "../../src/coordinator/coordinator.ts";
import { type Hub, type RepoSpec, startHub } from "../fakes/hub/hub.ts";
import { sentenceTransformerRepo } from "../fakes/tiny-models.ts";
import { quietLog } from "../register/worker.ts";
import { until } from "../until.ts";

/** The one required model of the built-in worker type `embedding`. */
export const MINILM = "sentence-transformers/all-MiniLM-L6-v2";
export const WEIGHTS = "model.safetensors";

/** A hub that serves it; the weights have about this size. */
export function startMiniLmHub(sizeBytes?: number, ...others: RepoSpec[]): Promise<Hub> {
  return startHub({ repos: [{ id: MINILM, files: sentenceTransformerRepo(MINILM, sizeBytes) }, ...others] });
}

export interface Gate {
  /** Requests that wait at it. */
  waiting: number;
  open(): void;
}

/** Holds the hub's answers for weights after their first byte range until it is opened. */
export function holdWeights(hub: Hub, { all = false } = {}): Gate {
  const { promise, resolve } = Promise.withResolvers<void>();
  const gate: Gate = { waiting: 0, open: resolve };
  hub.onRequest = async ({ host, range }) => {
    if (host !== "cdn" || (!all && (range === undefined || range.startsWith("bytes=0-")))) return;
    gate.waiting += 1;
    await promise;
  };
  return gate;
}

const TOKEN = "coordinator-secret-0123456789";

export interface TestCoordinator extends Coordinator {
  /** What a worker's environment needs to register there. */
  env: { COORDINATOR_URL: string; COORDINATOR_TOKEN: string };
  /** As `GET /v1/workers` lists them. */
  list(): Promise<WorkerView[]>;
  /** Waits for a worker of which this holds. */
  worker(what: string, condition: (worker: WorkerView) => boolean): Promise<WorkerView>;
}

export async function startTestCoordinator(port = 0): Promise<TestCoordinator> {
  const options = { host: "127.0.0.1", port, workerToken: TOKEN, clientToken: TOKEN, log: quietLog, beatMs: 500 };
  const coordinator = await startCoordinator(options);
  const list = async () => {
    const answer = await fetch(`${coordinator.url}/v1/workers`, { headers: { authorization: `Bearer ${TOKEN}` } });
    return ((await answer.json()) as { data: WorkerView[] }).data;
  };
  return {
    ...coordinator,
    env: { COORDINATOR_URL: coordinator.wsUrl, COORDINATOR_TOKEN: TOKEN },
    list,
    worker: (what, condition) => until(what, async () => (await list()).find(condition), 45_000),
  };
}

/** A port on which nothing listens. */
export async function closedPort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
