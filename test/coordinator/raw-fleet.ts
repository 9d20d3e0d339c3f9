import { type CoordinatorOptions, startCoordinator } from "../../src/coordinator/coordinator.ts";
import type { CoordinatorFrame, ModelReport, WorkerPayload } from "../../src/protocol.ts";
import { quietLog } from "../register/worker.ts";
import { until } from "../until.ts";
import { beat, hello, openRawWorker } from "./raw-worker.ts";

export type Offer = Extract<CoordinatorFrame, { t: "job.offer" }>;

export const MODEL: ModelReport = {
  ...{ model: "llama", source: "ollama", location: "llama:8b", variant: "q4", revision: "1", required: true },
  ...{ state: "ready", bytesDone: 1, bytesTotal: 1, rate: 0, errorCode: null },
};
export const CHAT = { kind: "chat", model: "llama", input: { messages: [] } } as const;

export function startRawCoordinator(options: Partial<CoordinatorOptions> = {}) {
  return startCoordinator({
    ...{ host: "127.0.0.1", port: 0, workerToken: null, clientToken: null, log: quietLog },
    ...options,
  });
}

/** A worker of bare frames that is ready and takes as many chats as its credit says. */
export async function joinRaw(
  url: string,
  {
    workerId = "worker-1",
    credit = 1,
    token,
    ...change
  }: Parameters<typeof hello>[0] & { credit?: number; token?: string } = {},
) {
  const worker = await openRawWorker(url, token);
  worker.send(hello({ workerId, models: [MODEL], ready: true, ...change }));
  worker.send(beat(1));
  worker.send({ t: "credit", kind: "chat", n: credit });
  await until("the beat is acknowledged", () => worker.frames.some(({ t }) => t === "beat.ack"));
  const all = <T extends CoordinatorFrame["t"]>(t: T) =>
    worker.frames.filter((frame): frame is Extract<CoordinatorFrame, { t: T }> => frame.t === t);
  return {
    ...worker,
    all,
    offer: (n = 1): Promise<Offer> => until(`offer ${n} comes`, () => all("job.offer")[n - 1]),
    accept: ({ jobId, attempt }: Offer) => worker.send({ t: "job.accept", jobId, attempt }),
    chunk: ({ jobId, attempt }: Offer, cs: number, delta: unknown) =>
      worker.send({ t: "job.chunk", jobId, attempt, cs, delta }),
    answer: ({ jobId, attempt }: Pick<Offer, "jobId" | "attempt">, text: string, change: Partial<WorkerPayload> = {}) =>
      worker.send({
        ...{ t: "job.result", jobId, attempt, status: "done", output: { text } },
        ...change,
      } as WorkerPayload),
  };
}
