import { expect, test } from "vitest";
import type { Coordinator } from "../../../src/coordinator/coordinator.ts";
import { createMetrics } from "../../../src/coordinator/metrics/metrics.ts";
import { natsBackend } from "../../../src/coordinator/nats/open-nats.ts";
import { HARDWARE } from "../../register/worker.ts";
import { until } from "../../until.ts";
import { startNatsServer, withoutNats } from "../nats/nats-server.ts";
import { CHAT, joinRaw, startRawCoordinator } from "../raw-fleet.ts";
import { beat } from "../raw-worker.ts";

/** The values as Prometheus reads them, by name without its prefix, and labels. */
async function scrape({ url }: Pick<Coordinator, "url">, token?: string): Promise<Record<string, number>> {
  const answer = await fetch(`${url}/metrics`, token ? { headers: { authorization: `Bearer ${token}` } } : {});
  expect(answer.status).toBe(200);
  expect(answer.headers.get("content-type")).toMatch(/^text\/plain; version=0\.0\.4/);
  const lines = (await answer.text()).matchAll(/^muster_coordinator_(\S+) (\S+)$/gm);
  return Object.fromEntries([...lines].map(([, name = "", value]) => [name.replaceAll('"', ""), Number(value)]));
}

test("only administrators read them", async () => {
  const keys = { workerToken: "worker-token", clientToken: "client-token", adminToken: "admin-token" };
  await using peer = await startRawCoordinator(keys);
  const statusFor = async (token?: string) => {
    const headers: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {};
    return (await fetch(`${peer.url}/metrics`, { headers })).status;
  };
  expect([await statusFor(), await statusFor("worker-token"), await statusFor("client-token")]).toEqual([
    401, 401, 403,
  ]);
  const seen = await scrape(peer, "admin-token");
  expect(seen).toMatchObject({
    "http_refusals_total{code=TOKEN_INVALID}": 2,
    "http_refusals_total{code=ACCESS_REFUSED}": 1,
  });
});

test("they tell of workers, GPUs and models, by type", async () => {
  await using peer = await startRawCoordinator();
  using _one = await joinRaw(peer.wsUrl, { workerId: "a", hardware: HARDWARE });
  using two = await joinRaw(peer.wsUrl, { workerId: "b", hardware: HARDWARE });
  const { uuid } = HARDWARE.gpus[0]!;
  const gpus = [{ uuid, memoryUsedMiB: 1024, memoryFreeMiB: 1, utilization: null }];
  two.send(beat(2, { state: "paused", ready: false, gpus }));
  await until("the beat counts", () => peer.workers().some(({ beats }) => beats === 2));
  const seen = await scrape(peer);
  expect(seen).toMatchObject({
    ...{ "workers{type=chat,state=ready}": 1, "workers{type=chat,state=paused}": 1, "workers_ready{type=chat}": 1 },
    ...{ "gpus{type=chat}": 2, "gpu_memory_total_bytes{type=chat}": 2 * 24_576 * 2 ** 20 },
    ...{ "gpu_memory_used_bytes{type=chat}": 2 ** 30, "models{state=ready}": 2, "models{state=failed}": 0, ready: 1 },
  });
  expect(Object.keys(seen)).not.toContain("nats_connected");
  two.socket.close();
  await until("it is away", () => peer.workers().some(({ connected }) => !connected));
  expect(await scrape(peer)).toMatchObject({ "workers{type=chat,state=disconnected}": 1, "gpus{type=chat}": 1 });
});

test("they count what becomes of jobs", async () => {
  await using peer = await startRawCoordinator();
  const first = await peer.jobs.submit(CHAT);
  const before = await scrape(peer);
  expect(before).toMatchObject({ "jobs_queued{kind=chat}": 1, "jobs_queued{kind=ocr}": 0, jobs_assigned: 0 });
  expect(before.job_oldest_queued_seconds).toBeGreaterThanOrEqual(0);
  using worker = await joinRaw(peer.wsUrl, { credit: 9 });
  const { jobId, attempt } = await worker.offer();
  expect(jobId).toBe(first.id);
  worker.send({ t: "job.reject", jobId, attempt, code: "BUSY" });
  worker.send({ t: "credit", kind: "chat", n: 9 });
  const second = await worker.offer(2);
  worker.accept(second);
  const error = { code: "GPU_LOST", message: "It fell off the bus.", retryable: true } as const;
  worker.answer(second, "", { status: "failed", error });
  const third = await worker.offer(3);
  worker.accept(third);
  expect(await scrape(peer)).toMatchObject({ "jobs_queued{kind=chat}": 0, jobs_assigned: 1 });
  worker.answer(third, "Hello");
  worker.answer(third, "Hello again");
  await until("both are acknowledged", () => worker.all("result.ack").length === 3);
  const bad = await peer.jobs.submit(CHAT);
  const fourth = await worker.offer(4);
  worker.answer(fourth, "", { status: "failed", error: { code: "INVALID_INPUT", message: "no", retryable: false } });
  await until("it ends", async () => (await peer.jobs.get(bad.id))?.state === "failed");
  const seen = await scrape(peer);
  expect(seen).toMatchObject({
    ...{ "jobs_taken_total{kind=chat}": 2, "offers_total{kind=chat}": 4 },
    ...{ "rejections_total{kind=chat,code=BUSY}": 1, "retries_total{kind=chat,code=GPU_LOST}": 1 },
    ...{ "jobs_total{kind=chat,outcome=done}": 1, "jobs_total{kind=chat,outcome=INVALID_INPUT}": 1 },
    ...{ "results_total{became=committed}": 2, "results_total{became=failed}": 1, "results_total{became=late}": 1 },
    ...{ "job_queue_seconds_count{kind=chat}": 2, "job_run_seconds_count{kind=chat}": 1 },
    ...{ "job_duration_seconds_count{kind=chat}": 1, "store_seconds_count{operation=insert}": 2 },
  });
  expect(seen["store_seconds_count{operation=commit}"]).toBeGreaterThanOrEqual(2);
});

test("they count workers that are lost, with the leases of their jobs", async () => {
  await using peer = await startRawCoordinator({ beatMs: 20, leaseMs: 100, graceMs: 60 });
  const job = await peer.jobs.submit({ ...CHAT, retrySafe: false });
  using worker = await joinRaw(peer.wsUrl);
  worker.accept(await worker.offer());
  worker.socket.close();
  await until("the job ends", async () => (await peer.jobs.get(job.id))?.state === "failed");
  await until("it is forgotten", () => peer.workers().length === 0);
  expect(await scrape(peer)).toMatchObject({
    ...{ "lease_losses_total{kind=chat}": 1, "workers_lost_total{type=chat}": 1 },
    "jobs_total{kind=chat,outcome=LEASE_LOST}": 1,
  });
});

test("they count requests by route, never by what stands in the path, and streams while they are open", async () => {
  await using peer = await startRawCoordinator();
  const job = await peer.jobs.submit(CHAT);
  const stream = await fetch(`${peer.url}/v1/jobs/${job.id}/events`);
  for (const path of ["/v1/jobs/one", "/v1/jobs/two", "/secret-place", "/livez"])
    await (await fetch(peer.url + path, path === "/livez" ? { method: "PUT" } : {})).arrayBuffer();
  expect(await scrape(peer)).toMatchObject({ streams_open: 1 });
  await stream.body!.cancel();
  const count = (method: string, route: string, status: number) =>
    `http_request_duration_seconds_count{method=${method},route=${route},status=${status}}`;
  const seen = await until("the stream is over", async () => {
    const now = await scrape(peer);
    return now.streams_open === 0 && now;
  });
  expect(seen).toMatchObject({
    ...{ [count("GET", "/v1/jobs/{id}", 404)]: 2, [count("GET", "none", 404)]: 1, [count("PUT", "none", 405)]: 1 },
    [count("GET", "/v1/jobs/{id}/events", 200)]: 1,
  });
  expect(Object.keys(seen).join()).not.toMatch(/\b(secret|one|two)\b/);
});

test("types of workers are counted one by one up to a bound", async () => {
  const { registry, counters } = createMetrics();
  for (let n = 0; n < 300; n += 1) counters.workerLost(`type-${n}`);
  const { values } = await registry.getSingleMetric("muster_coordinator_workers_lost_total")!.get();
  expect(values.length).toBe(101);
  expect(values.at(-1)).toMatchObject({ labels: { type: "other" }, value: 200 });
});

test("with NATS they tell whether it is within reach", async ({ skip }) => {
  skip(withoutNats, "nats-server is not installed");
  await using nats = await startNatsServer();
  await using peer = await startRawCoordinator({ backend: natsBackend(nats.options({ prefix: "metrics" })) });
  using worker = await joinRaw(peer.wsUrl);
  const job = await peer.jobs.submit(CHAT);
  worker.answer(await worker.offer(), "Hello");
  await until("it is done", async () => (await peer.jobs.get(job.id))?.state === "done");
  const seen = await scrape(peer);
  expect(seen).toMatchObject({
    ...{ nats_connected: 1, ready: 1, "jobs_total{kind=chat,outcome=done}": 1 },
    "store_seconds_count{operation=insert}": 1,
  });
  await peer.jobs.submit({ ...CHAT, kind: "embedding" });
  const queued = await until("the queue is known by kind", async () => {
    const now = await scrape(peer);
    return now["jobs_queued{kind=embedding}"] === 1 && now;
  });
  expect(queued).toMatchObject({ "jobs_queued{kind=chat}": 0, jobs_assigned: 0 });
  expect(Object.keys(seen)).not.toContain("job_oldest_queued_seconds");
});
