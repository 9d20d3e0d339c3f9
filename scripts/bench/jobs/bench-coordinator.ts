import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { type WebSocket, WebSocketServer } from "ws";
import { encodeFrame, SUBPROTOCOL, type WorkerFrame } from "../../../src/protocol.ts";

export interface BenchJob {
  input: unknown;
  stream: boolean;
}

/** The least of a coordinator: offers a job, acknowledges what comes, and knows when the result came. */
export interface BenchCoordinator extends AsyncDisposable {
  url: string;
  /** Settles when a worker gives credit. */
  ready: Promise<void>;
  /** Settles with the pieces that came when the result has come. Throws where the job was turned down or failed. */
  run(job: BenchJob): Promise<number>;
  /** Milliseconds between beats that came. */
  beats: number[];
  /** Bytes of the model `large` that the worker has, as far as it has told. */
  downloaded(): number;
  /** Settles when it has all of them. */
  stored: Promise<void>;
}

export async function startBenchCoordinator(beatMs: number): Promise<BenchCoordinator> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols: () => SUBPROTOCOL });
  await once(server, "listening");
  const ready = Promise.withResolvers<void>();
  const running = new Map<string, { pieces: number; done: PromiseWithResolvers<number> }>();
  const beats: number[] = [];
  const stored = Promise.withResolvers<void>();
  let downloaded = 0;
  let socket: WebSocket | null = null;
  let jobs = 0;
  let lastBeatAt = 0;

  const send = (payload: Parameters<typeof encodeFrame>[0]) => socket?.send(encodeFrame(payload));
  const take = (frame: WorkerFrame) => {
    if (frame.t === "hello") send({ t: "welcome", sessionId: "bench", epoch: 1, beatMs, resume: [] });
    else if (frame.t === "beat") {
      const now = performance.now();
      if (lastBeatAt > 0) beats.push(now - lastBeatAt);
      lastBeatAt = now;
      send({ t: "beat.ack", n: frame.n, renewed: frame.jobs.map(({ jobId }) => jobId) });
    } else if (frame.t === "model.state" && frame.model === "large") {
      downloaded = frame.bytesDone;
      if (frame.state === "stored") stored.resolve();
    } else if (frame.t === "credit" && frame.n > 0) ready.resolve();
    else if (frame.t === "job.chunk") {
      const job = running.get(frame.jobId);
      if (job) job.pieces += 1;
      send({ t: "chunk.ack", jobId: frame.jobId, attempt: frame.attempt, cs: frame.cs });
    } else if (frame.t === "job.reject" || frame.t === "job.result") {
      const job = running.get(frame.jobId);
      running.delete(frame.jobId);
      if (frame.t === "job.result") send({ t: "result.ack", jobId: frame.jobId, attempt: frame.attempt });
      if (frame.t === "job.result" && frame.status === "done") job?.done.resolve(job.pieces);
      else job?.done.reject(new Error(JSON.stringify(frame)));
    }
  };
  server.on("connection", (opened) => {
    socket = opened;
    opened.on("message", (data) => take(JSON.parse(data.toString()) as WorkerFrame));
  });
  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ready: ready.promise,
    beats,
    downloaded: () => downloaded,
    stored: stored.promise,
    run({ input, stream }) {
      jobs += 1;
      const jobId = `job-${jobs}`;
      const done = Promise.withResolvers<number>();
      running.set(jobId, { pieces: 0, done });
      send({
        ...{ t: "job.offer", jobId, attempt: 1, lease: jobId, kind: "chat", model: "echo" },
        ...{ input, remainingMs: 60_000, stream, retrySafe: true },
      });
      return done.promise;
    },
    async [Symbol.asyncDispose]() {
      socket?.terminate();
      server.close();
      await once(server, "close");
    },
  };
}
