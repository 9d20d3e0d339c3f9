import { once } from "node:events";
import { WebSocket } from "ws";
import { type CoordinatorFrame, encodeFrame, SUBPROTOCOL, type WorkerPayload } from "../../../src/protocol.ts";

/**
 * Workers that are nothing but a socket each: they beat, and answer a job as soon as it is offered. Takes the
 * coordinators' URLs with commas between them, their number and the interval of their beats in milliseconds; prints `connected` once all are.
 */

const [urls = "", count = "", beatMs = ""] = process.argv.slice(2);
const gateways = urls.split(",");
/** Handshakes at once: more would overflow the listener's backlog. */
const AT_ONCE = 64;
const GIB = 2 ** 30;

/** One `take` serves all workers: a closure a worker would be most of what is measured here. */
function take(socket: WebSocket, frame: CoordinatorFrame): void {
  if (frame.t !== "job.offer") return;
  const { jobId, attempt } = frame;
  const message = { role: "assistant", content: "word" };
  const usage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 };
  const output = {
    ...{ id: jobId, object: "chat.completion", created: 1, model: "echo", usage },
    choices: [{ index: 0, message, finish_reason: "stop" }],
  };
  send(socket, { t: "job.accept", jobId, attempt });
  send(socket, { t: "job.result", jobId, attempt, status: "done", output, usage, timings: {} });
  send(socket, { t: "credit", kind: "chat", n: 1 });
}

async function connect(number: number): Promise<void> {
  const socket = new WebSocket(gateways[number % gateways.length]!, SUBPROTOCOL, { perMessageDeflate: false });
  socket.on("message", (data) => take(socket, JSON.parse(data.toString())));
  await once(socket, "open");
  send(socket, hello(number));
  await once(socket, "message");
  send(socket, { t: "credit", kind: "chat", n: 1 });
  let n = 0;
  const beat = () => {
    n += 1;
    send(socket, {
      ...{ t: "beat", n, ready: true, state: "ready", slotsFree: { chat: 1 }, diskFreeBytes: 100 * GIB },
      ...{ gpus: [{ uuid: `GPU-${number}`, memoryUsedMiB: 20_000, memoryFreeMiB: 4_000, utilization: 50 }] },
      ...{ loopLagMs: 1, jobs: [], modelsRevision: 1 },
    });
  };
  beat();
  // Spread over the interval, as those of real workers are.
  setTimeout(() => setInterval(beat, Number(beatMs)), Math.random() * Number(beatMs));
}

function hello(number: number): WorkerPayload {
  const gpu = { index: 0, name: "NVIDIA RTX A5000", uuid: `GPU-${number}`, vendor: "nvidia" as const };
  const memory = { totalBytes: 64 * GIB, availableBytes: 32 * GIB, limitBytes: null };
  const model = { model: "echo", source: "path" as const, location: "/models/echo", variant: "only" };
  return {
    t: "hello",
    ...{ workerId: `worker-${number}`, bootId: `boot-${number}`, agent: "muster/0.1.0", features: [] },
    workerType: "bench",
    hardware: {
      gpus: [
        {
          ...{ ...gpu, memoryTotalMiB: 24_564, memoryFreeMiB: 24_000, mig: false, unified: false },
          computeCapability: "8.6",
        },
      ],
      driverVersion: "580.65.06",
      cpu: { model: "AMD EPYC 7763", cores: 16 },
      memory,
    },
    engines: [{ kind: "vllm", url: "http://127.0.0.1:8000", reachable: true, version: "0.11.0" }],
    models: [
      {
        ...{ ...model, revision: "main", required: true, state: "ready", bytesDone: GIB, bytesTotal: GIB, rate: 0 },
        errorCode: null,
      },
    ],
    ...{ ready: true, slots: { chat: 1 }, jobs: [], results: [] },
  };
}

function send(socket: WebSocket, payload: WorkerPayload): void {
  socket.send(encodeFrame(payload));
}

let next = 0;
const turns = Array.from({ length: AT_ONCE }, async () => {
  while (next < Number(count)) {
    next += 1;
    await connect(next);
  }
});
await Promise.all(turns);
process.stdout.write("connected\n");
