import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Coordinator, type CoordinatorOptions, startCoordinator } from "../../../src/coordinator/coordinator.ts";
import type { JobEvent, JobEvents } from "../../../src/coordinator/jobs/jobs.ts";
import { openLink } from "../../../src/coordinator/nats/link.ts";
import { natsBackend } from "../../../src/coordinator/nats/open-nats.ts";
import type { CoordinatorFrame, ModelReport, WorkerPayload } from "../../../src/protocol.ts";
import { quietLog } from "../../register/worker.ts";
import { until } from "../../until.ts";
import { beat, hello, openRawWorker } from "../raw-worker.ts";
import { type NatsServer, startNatsServer, withoutNats } from "./nats-server.ts";

type Offer = Extract<CoordinatorFrame, { t: "job.offer" }>;

const MODEL: ModelReport = {
  ...{
    model: "acme/llama:8b.q4",
    source: "ollama",
    location: "llama:8b",
    variant: "q4",
    revision: "1",
    required: true,
  },
  ...{ state: "ready", bytesDone: 1, bytesTotal: 1, rate: 0, errorCode: null },
};
const CHAT = { kind: "chat", model: "acme/llama:8b.q4", input: { messages: [] } } as const;
const QUICK = { beatMs: 200, leaseMs: 600, graceMs: 600 };

let nats: NatsServer;
beforeAll(async () => {
  if (!withoutNats) nats = await startNatsServer();
});
afterAll(() => nats?.[Symbol.asyncDispose]());
beforeEach(({ skip }) => skip(withoutNats, "nats-server is not installed"));

interface Gateways extends AsyncDisposable {
  a: Coordinator;
  b: Coordinator;
}

async function startGateway(prefix: string, options: Partial<CoordinatorOptions> = {}) {
  return await startCoordinator({
    ...{ host: "127.0.0.1", port: 0, workerToken: null, clientToken: null, log: quietLog },
    backend: natsBackend(nats.options({ prefix })),
    ...options,
  });
}

async function startGateways(options: Partial<CoordinatorOptions> = {}): Promise<Gateways> {
  const { prefix } = nats.options();
  const [a, b] = await Promise.all([startGateway(prefix, options), startGateway(prefix, options)]);
  return {
    ...{ a, b },
    async [Symbol.asyncDispose]() {
      await Promise.all([a.close(), b.close()]);
    },
  };
}

/** A worker that is ready and takes as many chats as its credit says. */
async function join(
  url: string,
  { workerId = "worker-1", credit = 1, ...change }: Parameters<typeof hello>[0] & { credit?: number } = {},
) {
  const worker = await openRawWorker(url);
  worker.send(hello({ workerId, models: [MODEL], ready: true, ...change }));
  worker.send(beat(1, { jobs: change.jobs ?? [] }));
  worker.send({ t: "credit", kind: "chat", n: credit });
  await until("the beat is acknowledged", () => worker.frames.some(({ t }) => t === "beat.ack"));
  const all = <T extends CoordinatorFrame["t"]>(t: T) =>
    worker.frames.filter((frame): frame is Extract<CoordinatorFrame, { t: T }> => frame.t === t);
  return {
    ...worker,
    all,
    offer: (n = 1): Promise<Offer> => until(`offer ${n} comes`, () => all("job.offer")[n - 1]),
    chunk: ({ jobId, attempt }: Offer, cs: number, delta: unknown) =>
      worker.send({ t: "job.chunk", jobId, attempt, cs, delta }),
    answer: ({ jobId, attempt }: Offer, text: string, change: Partial<WorkerPayload> = {}) =>
      worker.send({ t: "job.result", jobId, attempt, status: "done", output: { text }, ...change } as WorkerPayload),
  };
}

async function rest(events: JobEvents): Promise<JobEvent[]> {
  const all: JobEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

describe("a job of one gateway", () => {
  test("runs at a worker of another, and streams back in order", async () => {
    await using fleet = await startGateways();
    using worker = await join(fleet.b.wsUrl);
    const { job, events } = await fleet.a.jobs.attend({ ...CHAT, stream: true });
    const offer = await worker.offer();
    expect(offer).toMatchObject({ jobId: job.id, attempt: 1, model: CHAT.model, input: CHAT.input });
    worker.send({ t: "job.accept", jobId: job.id, attempt: 1 });
    const deltas = Array.from({ length: 200 }, (_, n) => ({ n }));
    for (const [cs, delta] of deltas.entries()) worker.chunk(offer, cs, delta);
    worker.answer(offer, "x".repeat(100_000));
    const seen = await rest(events);
    expect(seen.flatMap((event) => (event.type === "chunk" ? [event.delta] : []))).toEqual(deltas);
    expect(seen[0]).toMatchObject({ type: "state", state: "queued" });
    expect(seen.at(-1)).toMatchObject({
      type: "end",
      job: { state: "done", outcome: { output: { text: /^x{100000}$/ } } },
    });
    await until("it is acknowledged", () => worker.all("result.ack")[0]);
    await until("its answer is forgotten", async () => {
      const kept = await fleet.b.jobs.get(job.id);
      return kept?.state === "done" && kept.outcome?.output === undefined;
    });
  });

  test("is shown, followed and cancelled at any", async () => {
    await using fleet = await startGateways();
    using worker = await join(fleet.b.wsUrl);
    const { id } = await fleet.a.jobs.submit({ ...CHAT, id: "größe/1.2 x" });
    expect((await worker.offer()).jobId).toBe(id);
    expect(await fleet.b.jobs.get(id)).toMatchObject({ state: "assigned", workerId: "worker-1" });
    const events = (await fleet.a.jobs.follow(id))!;
    expect(await fleet.a.jobs.cancel(id)).toMatchObject({ state: "assigned" });
    await until("the worker is told", () => worker.all("job.cancel")[0]);
    worker.send({ t: "job.result", jobId: id, attempt: 1, status: "cancelled" });
    expect((await rest(events)).at(-1)).toMatchObject({ type: "end", job: { state: "cancelled" } });
    expect((await fleet.b.jobs.list({ limit: 5 })).map((job) => job.id)).toEqual([id]);
    const again = await fleet.b.jobs.submit({ ...CHAT, id });
    expect(again.state).toBe("cancelled");
    await expect(fleet.b.jobs.submit({ ...CHAT, id, model: "other" })).rejects.toMatchObject({ code: "JOB_EXISTS" });
  });

  test("that nobody waits for any more ends at its worker", async () => {
    await using fleet = await startGateways();
    using worker = await join(fleet.b.wsUrl);
    const { job, events } = await fleet.a.jobs.attend(CHAT);
    await worker.offer();
    await events.return!();
    await until("the worker is told", () => worker.all("job.cancel").find(({ jobId }) => jobId === job.id));
  });

  test("has inputs and outputs larger than a message of NATS", async () => {
    await using fleet = await startGateways();
    using worker = await join(fleet.b.wsUrl);
    const content = "ü".repeat(3_000_000);
    const { id } = await fleet.a.jobs.submit({
      ...CHAT,
      input: { messages: [{ role: "user", content }] },
      keepInput: true,
    });
    const offer = await worker.offer();
    expect((offer.input as { messages: { content: string }[] }).messages[0]!.content === content).toBe(true);
    worker.answer(offer, content);
    await until("it is done", async () => (await fleet.a.jobs.get(id))?.state === "done");
    const { outcome, input } = (await fleet.a.jobs.get(id))!;
    expect((outcome!.output as { text: string }).text === content).toBe(true);
    expect(JSON.stringify(input).length).toBeGreaterThan(3_000_000);
  });

  test("that nobody takes in time ends", async () => {
    await using fleet = await startGateways(QUICK);
    const { id } = await fleet.a.jobs.submit({ ...CHAT, timeoutMs: 20 });
    await until("it is over", async () => (await fleet.b.jobs.get(id))?.outcome?.error?.code === "TIMEOUT");
  });
});

test("jobs wait in NATS, not in a gateway, and go by class and in order to whoever has room", async () => {
  await using fleet = await startGateways();
  for (const id of ["a", "b", "c"]) await fleet.a.jobs.submit({ ...CHAT, id });
  await fleet.a.jobs.submit({ ...CHAT, id: "urgent", priority: 5 });
  await fleet.a.jobs.submit({ ...CHAT, id: "whenever", priority: -1 });
  using first = await join(fleet.a.wsUrl, { credit: 2 });
  await first.offer(2);
  expect(first.all("job.offer").map(({ jobId }) => jobId)).toEqual(["urgent", "a"]);
  using second = await join(fleet.b.wsUrl, { workerId: "worker-2", credit: 9 });
  await second.offer(3);
  expect(second.all("job.offer").map(({ jobId }) => jobId)).toEqual(["b", "c", "whenever"]);
  expect(first.all("job.offer").length).toBe(2);
});

test("a job whose message was there long before it goes soon after it is sent again", async () => {
  const { prefix } = nats.options();
  await using gateway = await startGateway(prefix);
  using worker = await join(gateway.wsUrl);
  const link = await nats.link(prefix);
  // As a gateway leaves it that loses NATS, or dies, while it takes the job in.
  const subject = link.names.job({ ...CHAT, id: "again", client: null, priority: 0 });
  const message = { id: "again", origin: "gone", attended: false, deadlineAt: Date.now() + 60_000 };
  await link.js.publish(subject, JSON.stringify(message));
  const stream = link.names.called("JOBS");
  const consumer = link.names.consumer("normal", CHAT);
  const delivered = async () => (await link.jsm.consumers.info(stream, consumer)).delivered.consumer_seq;
  await until("it was looked at several times", async () => (await delivered().catch(() => 0)) >= 5);
  await gateway.jobs.submit({ ...CHAT, id: "again" });
  expect((await worker.offer()).jobId).toBe("again");
});

test("a slow client at one gateway holds the acknowledgements at the other back", async () => {
  await using fleet = await startGateways();
  using worker = await join(fleet.b.wsUrl);
  const { events } = await fleet.a.jobs.attend({ ...CHAT, stream: true });
  const offer = await worker.offer();
  const acknowledged = () => worker.all("chunk.ack").at(-1)?.cs ?? -1;
  const COUNT = 40;
  for (let cs = 0; cs < COUNT; cs += 1) {
    worker.chunk(offer, cs, "y".repeat(100_000));
    worker.send(beat(cs + 2));
    await until("the gateway has seen it", () => worker.all("beat.ack").some(({ n }) => n === cs + 2));
    // Its way to the other gateway, and back.
    await fleet.a.jobs.get("none");
  }
  expect(acknowledged()).toBeGreaterThan(3);
  expect(acknowledged()).toBeLessThan(COUNT - 1);
  for (let chunks = 0; chunks < COUNT; ) {
    const { value } = await events.next();
    if (value?.type === "chunk") chunks += 1;
  }
  await until("all are acknowledged", () => acknowledged() === COUNT - 1);
  worker.answer(offer, "done");
  expect((await rest(events)).at(-1)?.type).toBe("end");
});

describe("a worker", () => {
  test("goes to another gateway with its jobs and results: nothing runs twice, nothing is lost", async () => {
    await using fleet = await startGateways();
    using worker = await join(fleet.a.wsUrl, { credit: 3 });
    const jobs = await Promise.all(["running", "done", "lost"].map((id) => fleet.a.jobs.submit({ ...CHAT, id })));
    await worker.offer(3);
    const events = (await fleet.a.jobs.follow("running"))!;
    const offer = worker.all("job.offer").find(({ jobId }) => jobId === "running")!;
    worker.chunk(offer, 0, "one");
    await until("the chunk is acknowledged", () => worker.all("chunk.ack")[0]);
    worker.socket.terminate();
    using back = await join(fleet.b.wsUrl, {
      credit: 0,
      jobs: [{ jobId: "running", attempt: 1, lease: "l", cs: 1 }],
      results: [{ jobId: "done", attempt: 1 }],
    });
    expect(back.all("welcome")[0]?.resume).toEqual([{ jobId: "running", verdict: "keep", cs: 1 }]);
    back.chunk(offer, 1, "two");
    back.answer({ ...offer, jobId: "done" }, "kept");
    back.answer(offer, "all");
    const seen = await rest(events);
    expect(seen.flatMap((event) => (event.type === "chunk" ? [event.delta] : []))).toEqual(["one", "two"]);
    expect(seen.at(-1)).toMatchObject({ type: "end", job: { state: "done", attempt: 1 } });
    await until("the other too", async () => (await fleet.a.jobs.get("done"))?.outcome?.output);
    // What it did not bring is offered anew.
    back.send({ t: "credit", kind: "chat", n: 1 });
    expect(await back.offer()).toMatchObject({ jobId: "lost", attempt: 2 });
    expect(jobs.length).toBe(3);
  });

  test("whose gateway is gone keeps its job while its lease holds, and loses it after", async () => {
    await using fleet = await startGateways({ beatMs: 200, leaseMs: 1_500, graceMs: 1_500 });
    using worker = await join(fleet.a.wsUrl);
    const { id } = await fleet.b.jobs.submit(CHAT);
    const offer = await worker.offer();
    await fleet.a.close();
    using back = await join(fleet.b.wsUrl, { credit: 0, jobs: [{ jobId: id, attempt: 1, lease: offer.lease, cs: 0 }] });
    // For longer than lease and grace, until the last beat has its answer: a slow machine may leave one without.
    const last = () => back.all("beat.ack").at(-1)?.n ?? 0;
    for (let n = 2; n < 40 || last() < n - 1; n += 1) {
      back.send(beat(n, { jobs: [{ jobId: id, attempt: 1 }] }));
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(await fleet.b.jobs.get(id)).toMatchObject({ state: "assigned", attempt: 1 });
    back.socket.terminate();
    using other = await join(fleet.b.wsUrl, { workerId: "other" });
    const beats = setInterval(() => other.send(beat(100)), 100);
    expect(await other.offer()).toMatchObject({ jobId: id, attempt: 2 });
    clearInterval(beats);
  });

  test("with the id of an older one at another gateway takes its place", async () => {
    await using fleet = await startGateways();
    using older = await join(fleet.a.wsUrl);
    using newer = await join(fleet.b.wsUrl, { bootId: "boot-2" });
    expect((await older.closed).code).toBe(4009);
    using late = await openRawWorker(fleet.a.wsUrl);
    late.send(hello({ bootId: "boot-1" }));
    expect((await late.closed).code).toBe(4009);
    await until("both show the newer", () =>
      [fleet.a, fleet.b].every(({ workers }) => workers().length === 1 && workers()[0]?.bootId === "boot-2"),
    );
    expect(newer.socket.readyState).toBe(1);
  });

  test("is listed and told what to do at any gateway", async () => {
    await using fleet = await startGateways();
    using worker = await join(fleet.a.wsUrl);
    const at = (path: string, method = "GET") => fetch(fleet.b.url + path, { method });
    const shown = await until("it is listed", async () => {
      const { data } = (await (await at("/v1/workers")).json()) as { data: { id: string; ready: boolean }[] };
      return data.find(({ ready }) => ready);
    });
    expect(shown.id).toBe("worker-1");
    const models = (await (await at("/v1/models")).json()) as { data: { id: string }[] };
    expect(models.data.map(({ id }) => id)).toEqual([MODEL.model]);
    expect((await at("/v1/workers/worker-1/pause", "POST")).status).toBe(202);
    await until("it is told", () => worker.all("pause")[0]);
    worker.send({ t: "bye", reason: "drained" });
    worker.socket.close();
    await until("it is gone", async () => (await at("/v1/workers/worker-1")).status === 404);
  });
});

test("while NATS is away jobs run on and results are kept; when it is back all goes on", async () => {
  await using server = await startNatsServer();
  const { prefix } = server.options();
  const backend = natsBackend(server.options({ prefix }));
  await using gateway = await startGateway(prefix, { backend, beatMs: 200, leaseMs: 20_000, graceMs: 20_000 });
  using worker = await join(gateway.wsUrl, { credit: 2 });
  const { id } = await gateway.jobs.submit({ ...CHAT, id: "one" });
  const offer = await worker.offer();
  await server.stop();
  const ready = () => fetch(`${gateway.url}/readyz`);
  await until("it is not ready", async () => (await ready()).status === 503);
  const answer = await fetch(`${gateway.url}/v1/jobs`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(CHAT),
  });
  expect(answer.status).toBe(503);
  expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
  worker.send(beat(2, { jobs: [{ jobId: id, attempt: 1 }] }));
  await until("beats are acknowledged", () => worker.all("beat.ack").find(({ n }) => n === 2));
  worker.answer(offer, "kept");
  worker.send(beat(3));
  await until("the result was heard", () => worker.all("beat.ack").find(({ n }) => n === 3));
  expect(worker.all("result.ack")).toEqual([]);
  await server.start();
  await until("it is committed", () => worker.all("result.ack")[0], 30_000);
  expect(await gateway.jobs.get(id)).toMatchObject({
    state: "done",
    attempt: 1,
    outcome: { output: { text: "kept" } },
  });
  await until("it is ready", async () => (await ready()).status === 200);
  await gateway.jobs.submit({ ...CHAT, id: "two" });
  expect((await worker.offer(2)).jobId).toBe("two");
});

describe("a worker that comes while NATS is away", () => {
  test("waits for it, and is welcomed without having to come again", async () => {
    await using server = await startNatsServer();
    const backend = natsBackend(server.options());
    await using gateway = await startGateway("", { backend, graceMs: 600 });
    await gateway.jobs.submit(CHAT);
    await server.stop();
    await until("it is not ready", async () => (await fetch(`${gateway.url}/readyz`)).status === 503);
    const coming = join(gateway.wsUrl);
    await until("it is known", () => gateway.workers()[0]?.connected);
    await server.start();
    using worker = await coming;
    expect(worker.all("welcome").length).toBe(1);
    expect((await worker.offer()).model).toBe(CHAT.model);
  });

  test("is sent away to come back soon where that takes long", async () => {
    await using server = await startNatsServer();
    const backend = natsBackend(server.options());
    await using gateway = await startGateway("", { backend, graceMs: 600 });
    await server.stop();
    using worker = await openRawWorker(gateway.wsUrl);
    worker.send(hello());
    // 1013 would keep it away for half a minute and more.
    expect((await worker.closed).code).toBe(1012);
  });
});

test("a gateway that cannot speak to NATS promises no leases", async () => {
  await using server = await startNatsServer();
  const { prefix } = server.options();
  const backend = natsBackend(server.options({ prefix }));
  await using gateway = await startGateway(prefix, { backend, ...QUICK, leaseMs: 5_000 });
  using worker = await join(gateway.wsUrl);
  await server.stop();
  let n = 1;
  await until("a beat stays without an answer", async () => {
    n += 1;
    worker.send(beat(n));
    await new Promise((resolve) => setTimeout(resolve, 100));
    return !worker.all("beat.ack").some((frame) => frame.n === n);
  });
});

test("a server with too small messages, or none at all, is said", async () => {
  await using small = await startNatsServer("max_payload: 1KB");
  const start = startGateway("x", { backend: natsBackend(small.options()) });
  await expect(start).rejects.toMatchObject({ code: "CONFIG_INVALID", hint: expect.stringContaining("max_payload") });
  const none = openLink(small.options({ servers: ["nats://127.0.0.1:1"] }), quietLog);
  await expect(none).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
});
