import { once } from "node:events";
import { connect, createServer } from "node:net";
import { pino } from "pino";
import { describe, expect, it, onTestFinished } from "vitest";
import { type HttpOptions, startHttp } from "../../src/http/server.ts";
import type { JobErrorCode } from "../../src/protocol.ts";
import { registerSecret } from "../../src/redact.ts";
import { createStatusBoard, type JobEnd, type RunningJob } from "../../src/status.ts";

/** A server on this machine only, with what it logged. */
async function serve(change: Partial<HttpOptions> = {}) {
  const board = createStatusBoard({ version: "1.2.3", workerId: "worker-1", bootId: "boot-1", workerType: "chat" });
  const warnings: string[] = [];
  const log = pino(
    { level: "info" },
    { write: (line) => void warnings.push((JSON.parse(line) as { msg: string }).msg) },
  );
  const server = await startHttp({ port: 0, host: "127.0.0.1", board, log, ...change });
  onTestFinished(() => server.close());
  const ask = (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${server.port}${path}`, init);
  return { server, board, ask, warnings };
}

describe("routes", () => {
  it("/livez answers while the loop turns, ready or not", async () => {
    const { ask } = await serve();
    const answer = await ask("/livez?verbose");
    expect([answer.status, answer.headers.get("content-type")]).toEqual([200, "application/json"]);
    expect(await answer.json()).toEqual({ live: true });
  });

  it("/readyz says why not, and then that it is", async () => {
    const { ask, board } = await serve();
    const before = await ask("/readyz");
    expect(before.status).toBe(503);
    expect(await before.json()).toEqual({ ready: false, reasons: ["the agent is starting"] });
    board.update({ state: "syncing" });
    const after = await ask("/readyz");
    expect([after.status, await after.json()]).toEqual([200, { ready: true, reasons: [] }]);
  });

  it("/status is the status board, without secrets", async () => {
    registerSecret("4711");
    const { ask, board } = await serve();
    board.setModel("tiny", { location: "4711", bytesTotal: 9_471_100 });
    board.setCoordinator({ url: "ws://me:pass@host/" });
    expect(await (await ask("/status")).json()).toMatchObject({
      workerId: "worker-1",
      state: "starting",
      models: [{ id: "tiny", location: "[redacted]", bytesTotal: 9_471_100 }],
      coordinator: { url: "ws://[redacted]@host/" },
    });
  });

  it("HEAD gives the head alone", async () => {
    const { ask } = await serve();
    for (const path of ["/livez", "/status", "/metrics"]) {
      const answer = await ask(path, { method: "HEAD" });
      expect([answer.status, await answer.text()], path).toEqual([200, ""]);
    }
    expect((await ask("/readyz", { method: "HEAD" })).status).toBe(503);
  });

  it.each(["/", "/livez/", "/metrics.json"])("%s is not found, and says what is", async (path) => {
    const { ask } = await serve();
    const answer = await ask(path);
    expect(answer.status).toBe(404);
    expect(await answer.json()).toMatchObject({ paths: ["/livez", "/readyz", "/status", "/metrics"] });
  });

  it.each(["POST", "PUT", "DELETE", "OPTIONS"])("%s is refused", async (method) => {
    const { ask } = await serve();
    const answer = await ask("/livez", { method });
    expect([answer.status, answer.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
  });
});

it("/metrics parse, and hold readiness, model states and GPU memory as they are now", async () => {
  const { ask, board } = await serve();
  const answer = await ask("/metrics");
  expect(answer.headers.get("content-type")).toMatch("text/plain; version=0.0.4");
  const before = parseMetrics(await answer.text());
  expect(before.get('muster_info{version="1.2.3",worker_id="worker-1",worker_type="chat"}')).toBe(1);
  expect(before.get("muster_ready")).toBe(0);
  expect(before.has("process_cpu_user_seconds_total")).toBe(true);

  board.setModel('odd "name"\\', { source: "ollama", state: "fetching", bytesDone: 3, bytesTotal: 7, rate: 2.5 });
  board.setModel("tiny", { state: "stored", required: true });
  board.update({
    hardware: {
      ...HARDWARE,
      gpus: [
        { ...GPU, index: 1 },
        { ...GPU, memoryTotalMiB: null },
      ],
    },
  });
  board.setCoordinator({ url: "ws://c", connected: true });
  const now = parseMetrics(await (await ask("/metrics")).text());
  const odd = String.raw`model="odd \"name\"\\"`;
  expect(Object.fromEntries([...now].filter(([name]) => /^muster_(model|gpu|coord)/.test(name)))).toEqual({
    ...Object.fromEntries(
      ["requested", "fetching", "stored", "loading", "ready", "failed"].flatMap((state) => [
        [`muster_model_state{${odd},source="ollama",state="${state}"}`, state === "fetching" ? 1 : 0],
        [`muster_model_state{model="tiny",source="huggingface",state="${state}"}`, state === "stored" ? 1 : 0],
      ]),
    ),
    [`muster_model_bytes{${odd}}`]: 7,
    'muster_model_bytes{model="tiny"}': 0,
    [`muster_model_stored_bytes{${odd}}`]: 3,
    'muster_model_stored_bytes{model="tiny"}': 0,
    [`muster_model_fetch_bytes_per_second{${odd}}`]: 2.5,
    'muster_model_fetch_bytes_per_second{model="tiny"}': 0,
    'muster_gpu_memory_total_bytes{gpu="1",uuid="GPU-1"}': 24 * 2 ** 30,
    muster_coordinator_connected: 1,
  });
});

it("/metrics forget what is no more", async () => {
  const { ask, board } = await serve();
  board.update({ hardware: { ...HARDWARE, gpus: [GPU] } });
  await ask("/metrics");
  board.update({ hardware: { ...HARDWARE, gpus: [] }, workerType: "cpu-worker" });
  const names = [...parseMetrics(await (await ask("/metrics")).text()).keys()];
  expect(names.filter((name) => /^muster_(info|gpu)/.test(name))).toEqual([
    'muster_info{version="1.2.3",worker_id="worker-1",worker_type="cpu-worker"}',
  ]);
});

it("/metrics count jobs by how they ended, with their tokens and times", async () => {
  const { ask, board } = await serve();
  await ask("/metrics");
  const run = (end: JobEnd | null, model = "tiny") => {
    const job: RunningJob = { jobId: "j", attempt: 1, kind: "chat", model, startedAt: "", chunks: 0 };
    board.startJob(job);
    if (end) board.endJob(job, end);
  };
  const error = (code: JobErrorCode) => ({ code, message: "", retryable: true });
  run({
    status: "done",
    usage: { prompt_tokens: 7, completion_tokens: 5, total_tokens: 12 },
    timings: { queue_ms: 1, first_token_ms: 400, total_ms: 2_000 },
  });
  run({ status: "done", usage: { prompt_tokens: 1, completion_tokens: -1 }, timings: { total_ms: 7_000 } });
  run({ status: "failed", error: error("OUT_OF_MEMORY"), timings: { total_ms: 1 } });
  run({ status: "cancelled", error: error("CANCELLED"), timings: { total_ms: 1 } });
  run(null);
  run(null, "other");
  const now = parseMetrics(await (await ask("/metrics")).text());
  const of = 'kind="chat",model="tiny"';
  expect(Object.fromEntries([...now].filter(([name]) => /^muster_job/.test(name) && !/_bucket/.test(name)))).toEqual({
    [`muster_jobs_total{${of},outcome="done"}`]: 2,
    [`muster_jobs_total{${of},outcome="OUT_OF_MEMORY"}`]: 1,
    [`muster_jobs_total{${of},outcome="CANCELLED"}`]: 1,
    [`muster_job_tokens_total{${of},type="prompt"}`]: 8,
    [`muster_job_tokens_total{${of},type="completion"}`]: 5,
    [`muster_job_duration_seconds_sum{${of}}`]: 9,
    [`muster_job_duration_seconds_count{${of}}`]: 2,
    [`muster_job_first_token_seconds_sum{${of}}`]: 0.4,
    [`muster_job_first_token_seconds_count{${of}}`]: 1,
    [`muster_jobs_running{${of}}`]: 1,
    'muster_jobs_running{kind="chat",model="other"}': 1,
  });
});

describe("the port", () => {
  it("that was asked for and is taken is PORT_IN_USE", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    onTestFinished(() => void taken.close());
    const { port } = taken.address() as { port: number };
    await expect(serve({ port })).rejects.toMatchObject({
      code: "PORT_IN_USE",
      message: expect.stringContaining(`HTTP_PORT ${port}`),
      cause: { code: "EADDRINUSE" },
    });
  });

  it("that is usual and taken gives way to any free one, with a warning", async () => {
    const first = await serve({ port: null });
    const second = await serve({ port: null });
    // 9180 may have been taken by somebody else, and then the first one has given way as well.
    expect(second.server.port).not.toBe(9180);
    expect(second.server.port).not.toBe(first.server.port);
    expect(second.warnings).toEqual([
      `Port 9180 is taken; serving status on port ${second.server.port} (set HTTP_PORT to choose)`,
    ]);
    expect((await second.ask("/livez")).status).toBe(200);
  });

  it("of an address of another machine says so", async () => {
    await expect(serve({ host: "192.0.2.1" })).rejects.toMatchObject({
      code: "PORT_IN_USE",
      message: expect.stringContaining("HTTP_HOST 192.0.2.1"),
      cause: { code: "EADDRNOTAVAIL" },
    });
  });

  it("is free again after close, which waits for no request", async () => {
    const { server } = await serve();
    const socket = connect(server.port, "127.0.0.1");
    await once(socket, "connect");
    socket.write("GET /status HTTP/1.1\r\n");
    // An answer to a later connection shows that the server has had the line above.
    await fetch(`http://127.0.0.1:${server.port}/livez`);
    const ended = once(socket, "close");
    socket.resume().on("error", () => undefined);
    await server.close();
    await ended;
    const again = await serve({ port: server.port });
    expect(again.server.port).toBe(server.port);
  });
});

const GPU = {
  ...({ index: 0, name: "Test GPU", uuid: "GPU-1", vendor: "nvidia", memoryTotalMiB: 24_576 } as const),
  ...{ memoryFreeMiB: 24_000, mig: false, unified: false, computeCapability: "8.6" },
};
const HARDWARE = {
  ...({ gpuVendor: "nvidia", driverVersion: null, runtimeVersion: null, cpu: { model: "CPU", cores: 2 } } as const),
  ...{ memory: { totalBytes: 1, availableBytes: 1, limitBytes: null }, warnings: [] },
};

/** The text format of Prometheus: every line is a comment or a sample, every sample is of a type that was declared. */
function parseMetrics(text: string): Map<string, number> {
  const types = new Set<string>();
  const samples = new Map<string, number>();
  for (const line of text.trimEnd().split("\n")) {
    const type = /^# TYPE (\w+) (counter|gauge|histogram|summary)$/.exec(line);
    if (type) types.add(type[1]!);
    if (line === "" || line.startsWith("#")) continue;
    const label = String.raw`\w+="(?:[^"\\\n]|\\[\\n"])*"`;
    const sample = new RegExp(`^((\\w+?)(?:_bucket|_sum|_count)?(?:\\{${label}(?:,${label})*\\})?) (\\S+)$`).exec(line);
    expect(sample, line).not.toBeNull();
    const [, name, family, value] = sample!;
    expect(types.has(name!.split("{")[0]!) || types.has(family!), line).toBe(true);
    if (!/^(nan|[+-]inf)$/i.test(value!)) expect(Number(value), line).not.toBeNaN();
    samples.set(name!, Number(value));
  }
  return samples;
}
