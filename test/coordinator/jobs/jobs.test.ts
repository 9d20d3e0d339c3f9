import { describe, expect, test } from "vitest";
import { openMemoryStore } from "../../../src/coordinator/stores/memory.ts";
import { until } from "../../until.ts";
import { CHAT, joinRaw as join, MODEL, type Offer, startRawCoordinator as setUp } from "../raw-fleet.ts";
import { beat } from "../raw-worker.ts";

describe("a job", () => {
  test("goes to a worker that has a slot and the model ready, and ends with its result", async () => {
    await using peer = await setUp();
    using busy = await join(peer.wsUrl, { workerId: "busy", credit: 0 });
    using loading = await join(peer.wsUrl, { workerId: "loading", models: [{ ...MODEL, state: "loading" }] });
    using worker = await join(peer.wsUrl);
    const { id } = await peer.jobs.submit({ ...CHAT, model: "llama:8b", stream: true });
    const offer = await worker.offer();
    expect(offer).toMatchObject({
      jobId: id,
      attempt: 1,
      kind: "chat",
      model: "llama:8b",
      input: CHAT.input,
      stream: true,
    });
    expect(offer.remainingMs).toBeGreaterThan(0);
    worker.send({ t: "job.accept", jobId: id, attempt: 1 });
    worker.answer(offer, "hi");
    await until("it is acknowledged", () => worker.all("result.ack")[0]);
    expect(await peer.jobs.get(id)).toMatchObject({ state: "done", attempt: 1, outcome: { output: { text: "hi" } } });
    expect([...busy.all("job.offer"), ...loading.all("job.offer")]).toEqual([]);
  });

  test("waits for a slot, and each slot takes one", async () => {
    await using peer = await setUp();
    const jobs = await Promise.all(["a", "b", "c"].map((id) => peer.jobs.submit({ ...CHAT, id })));
    using worker = await join(peer.wsUrl, { credit: 2 });
    await worker.offer(2);
    worker.send(beat(2));
    await until("another beat", () => worker.all("beat.ack").length === 2);
    expect(worker.all("job.offer").map(({ jobId }) => jobId)).toEqual(["a", "b"]);
    for (const jobId of ["a", "b"]) worker.send({ t: "job.accept", jobId, attempt: 1 });
    worker.send({ t: "credit", kind: "chat", n: 1 });
    expect((await worker.offer(3)).jobId).toBe(jobs[2]!.id);
  });

  test("that was sent twice under one id is one", async () => {
    await using peer = await setUp();
    const first = await peer.jobs.submit({ ...CHAT, id: "same" });
    expect(await peer.jobs.submit({ ...CHAT, id: "same" })).toEqual(first);
    const other = peer.jobs.submit({ ...CHAT, id: "same", model: "other" });
    await expect(other).rejects.toMatchObject({ code: "JOB_EXISTS" });
  });

  test("that is turned down goes to another worker at once, and waits where there is none", async () => {
    await using peer = await setUp();
    using first = await join(peer.wsUrl, { workerId: "first", credit: 2 });
    using second = await join(peer.wsUrl, { workerId: "second" });
    const { id } = await peer.jobs.submit(CHAT);
    await first.offer();
    first.send({ t: "job.reject", jobId: id, attempt: 1, code: "BUSY" });
    expect(await second.offer()).toMatchObject({ jobId: id, attempt: 2 });
    first.answer({ jobId: id, attempt: 1 } as Offer, "late");
    await until("the late one is acknowledged", () => first.all("result.ack")[0]);
    expect((await peer.jobs.get(id))?.state).toBe("assigned");
  });

  test("that fails for now is tried again, and given up where that would do harm or has been enough", async () => {
    await using peer = await setUp();
    using worker = await join(peer.wsUrl, { credit: 10 });
    const failure = (code: "OUT_OF_MEMORY" | "INVALID_INPUT") => ({
      status: "failed" as const,
      error: { code, message: "no", retryable: code === "OUT_OF_MEMORY" },
    });
    const again = await peer.jobs.submit({ ...CHAT, maxAttempts: 2 });
    worker.answer(await worker.offer(1), "", failure("OUT_OF_MEMORY"));
    const second = await worker.offer(2);
    expect(second).toMatchObject({ jobId: again.id, attempt: 2 });
    worker.answer(second, "", failure("OUT_OF_MEMORY"));
    await until("it is given up", async () => (await peer.jobs.get(again.id))?.state === "failed");

    const once = await peer.jobs.submit({ ...CHAT, retrySafe: false });
    worker.answer(await worker.offer(3), "", failure("OUT_OF_MEMORY"));
    await until("it is not tried again", async () => (await peer.jobs.get(once.id))?.state === "failed");
    const wrong = await peer.jobs.submit(CHAT);
    worker.answer(await worker.offer(4), "", failure("INVALID_INPUT"));
    await until("nor this", async () => (await peer.jobs.get(wrong.id))?.outcome?.error?.code === "INVALID_INPUT");
  });

  test("that fails for want of an engine does not fail again and again there while others could do it", async () => {
    await using peer = await setUp();
    using dead = await join(peer.wsUrl, { workerId: "dead", credit: 10 });
    const error = { code: "ENGINE_DOWN" as const, message: "no", retryable: true };
    const first = await peer.jobs.submit({ ...CHAT, maxAttempts: 3 });
    dead.answer(await dead.offer(1), "", { status: "failed", error });
    await until("it waits", async () => (await peer.jobs.get(first.id))?.state === "queued");
    dead.send({ t: "credit", kind: "chat", n: 10 });
    const later = await peer.jobs.submit({ ...CHAT, maxAttempts: 3 });
    using live = await join(peer.wsUrl, { workerId: "live", credit: 10 });
    for (const nth of [1, 2]) live.answer(await live.offer(nth), "fine");
    for (const { id } of [first, later])
      await until("it is done", async () => (await peer.jobs.get(id))?.state === "done");
    expect(dead.all("job.offer")).toHaveLength(1);
  });

  test("is cancelled in the queue, and at its worker", async () => {
    await using peer = await setUp();
    const queued = await peer.jobs.submit(CHAT);
    expect(await peer.jobs.cancel(queued.id)).toMatchObject({ state: "cancelled" });
    expect(await peer.jobs.cancel("nothing")).toBeNull();
    using worker = await join(peer.wsUrl);
    const running = await peer.jobs.submit(CHAT);
    const offer = await worker.offer();
    await peer.jobs.cancel(running.id);
    const order = await until("the worker is told", () => worker.all("job.cancel")[0]);
    expect(order).toMatchObject({ jobId: running.id, attempt: 1 });
    worker.answer(offer, "", { status: "cancelled" });
    await until("it is", async () => (await peer.jobs.get(running.id))?.state === "cancelled");
  });

  test("that nobody takes in time ends", async () => {
    await using peer = await setUp({ leaseMs: 40 });
    const { id } = await peer.jobs.submit({ ...CHAT, timeoutMs: 20 });
    await until("it is over", async () => (await peer.jobs.get(id))?.outcome?.error?.code === "TIMEOUT");
  });
});

describe("a worker that", () => {
  test("beats keeps its jobs, and one that is silent for lease and grace loses them", async () => {
    await using peer = await setUp({ leaseMs: 600, graceMs: 400 });
    using worker = await join(peer.wsUrl);
    const { id } = await peer.jobs.submit(CHAT);
    await worker.offer();
    for (let n = 2; n < 32; n += 1) {
      worker.send(
        beat(n, {
          jobs: [
            { jobId: id, attempt: 1 },
            { jobId: "unknown", attempt: 1 },
          ],
        }),
      );
      const ack = await until("it is acknowledged", () => worker.all("beat.ack").find((frame) => frame.n === n));
      expect(ack).toMatchObject({ renewed: [id], lost: ["unknown"] });
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
    expect(await peer.jobs.get(id)).toMatchObject({ state: "assigned", attempt: 1 });
    worker.socket.terminate();
    using other = await join(peer.wsUrl, { workerId: "other" });
    const keepAlive = setInterval(() => other.send(beat(100)), 30);
    expect(await other.offer()).toMatchObject({ jobId: id, attempt: 2 });
    clearInterval(keepAlive);
  });

  test("comes back goes on with what it has, and gives up what is not its any more", async () => {
    await using peer = await setUp();
    using worker = await join(peer.wsUrl, { credit: 2 });
    const [kept, gone] = await Promise.all([peer.jobs.submit(CHAT), peer.jobs.submit(CHAT)]);
    await worker.offer(2);
    worker.send({ t: "job.chunk", jobId: kept.id, attempt: 1, cs: 0, delta: "a" });
    await until("the chunk is acknowledged", () => worker.all("chunk.ack")[0]);
    worker.socket.terminate();
    using back = await join(peer.wsUrl, {
      credit: 0,
      jobs: [
        { jobId: kept.id, attempt: 1, lease: "l", cs: 1 },
        { jobId: "unknown", attempt: 3, lease: "l", cs: 0 },
      ],
    });
    expect(back.all("welcome")[0]?.resume).toEqual([
      { jobId: kept.id, verdict: "keep", cs: 1 },
      { jobId: "unknown", verdict: "abandon", cs: 0 },
    ]);
    expect(await peer.jobs.get(gone.id)).toMatchObject({ state: "queued" });
    back.send({ t: "credit", kind: "chat", n: 1 });
    expect(await back.offer()).toMatchObject({ jobId: gone.id, attempt: 2 });
  });

  test("was killed loses its jobs as soon as it is back, but for results that it still has", async () => {
    await using peer = await setUp();
    using worker = await join(peer.wsUrl, { credit: 2 });
    const [done, lost] = await Promise.all([peer.jobs.submit(CHAT), peer.jobs.submit(CHAT)]);
    const offer = await worker.offer(1);
    await worker.offer(2);
    worker.socket.terminate();
    using back = await join(peer.wsUrl, { bootId: "boot-2", results: [{ jobId: done.id, attempt: 1 }] });
    expect(await back.offer()).toMatchObject({ jobId: lost.id, attempt: 2 });
    back.answer(offer, "kept");
    await until("it counts", async () => (await peer.jobs.get(done.id))?.state === "done");
  });

  test("says goodbye leaves its jobs to others at once", async () => {
    await using peer = await setUp();
    using worker = await join(peer.wsUrl);
    const { id } = await peer.jobs.submit(CHAT);
    await worker.offer();
    using other = await join(peer.wsUrl, { workerId: "other" });
    worker.send({ t: "bye", reason: "drained" });
    expect(await other.offer()).toMatchObject({ jobId: id, attempt: 2 });
  });
});

test("a coordinator that is started again knows its jobs, and who has them", async () => {
  const store = openMemoryStore();
  const durable = { ...store, close: async () => undefined };
  const first = await setUp({ store: durable });
  using worker = await join(first.wsUrl);
  const [running, queued] = await Promise.all([first.jobs.submit(CHAT), first.jobs.submit(CHAT)]);
  const offer = await worker.offer();
  await first.close();
  await using second = await setUp({ store: durable });
  using back = await join(second.wsUrl, { jobs: [{ jobId: running.id, attempt: 1, lease: offer.lease, cs: 0 }] });
  expect(back.all("welcome")[0]?.resume).toMatchObject([{ jobId: running.id, verdict: "keep" }]);
  expect(await back.offer()).toMatchObject({ jobId: queued.id });
  back.answer(offer, "hi");
  await until("it is committed", async () => (await second.jobs.get(running.id))?.state === "done");
});

describe("over HTTP", () => {
  const call = async (
    url: string,
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ) => {
    const response = await fetch(url + path, {
      method,
      headers,
      body: typeof body === "string" || body instanceof Buffer ? body : JSON.stringify(body),
    });
    return { status: response.status, location: response.headers.get("location"), body: await response.json() };
  };

  test("a job is taken, shown and cancelled", async () => {
    await using peer = await setUp();
    const taken = await call(peer.url, "POST", "/v1/jobs", { ...CHAT, id: "a/b", timeoutMs: 60_000 });
    expect(taken).toMatchObject({
      status: 202,
      location: "/v1/jobs/a%2Fb",
      body: { object: "job", id: "a/b", state: "queued" },
    });
    expect(await call(peer.url, "GET", "/v1/jobs/a%2Fb")).toMatchObject({
      status: 200,
      body: { id: "a/b", output: null },
    });
    expect(await call(peer.url, "POST", "/v1/jobs/a%2Fb/cancel")).toMatchObject({
      status: 202,
      body: { state: "cancelled", error: { code: "CANCELLED" } },
    });
  });

  test.each([
    ["no JSON", "{", 400, "invalid_request"],
    ["a kind that there is not", { ...CHAT, kind: "dance" }, 400, "invalid_request"],
    ["a field that there is not", { ...CHAT, speed: 1 }, 400, "invalid_request"],
    ["what has no end", `{"input":${"[".repeat(2_000)}${"]".repeat(2_000)}}`, 400, "invalid_request"],
    ["what is no text", Buffer.from('{"kind":"chat","model":"tiny","input":"\xff"}', "latin1"), 400, "invalid_request"],
    ["too much", { ...CHAT, input: "x".repeat(20_000) }, 413, "payload_too_large"],
  ])("%s is refused", async (_what, body, status, code) => {
    await using peer = await setUp({ maxFrame: 16_384 });
    expect(await call(peer.url, "POST", "/v1/jobs", body)).toMatchObject({ status, body: { error: { code } } });
  });

  test("what becomes too much for a frame ends, and its worker goes on", async () => {
    await using peer = await setUp({ maxFrame: 65_536 });
    using worker = await join(peer.wsUrl, { credit: 2 });
    // Written again a number has five times as many bytes.
    const taken = await call(
      peer.url,
      "POST",
      "/v1/jobs",
      `{"kind":"chat","model":"llama:8b","input":[${Array(4_000).fill("1e20")}]}`,
    );
    const { id } = taken.body as { id: string };
    await until("it is over", async () => (await peer.jobs.get(id))?.outcome?.error?.code === "PAYLOAD_TOO_LARGE");
    const next = await peer.jobs.submit(CHAT);
    expect(await worker.offer()).toMatchObject({ jobId: next.id });
  });

  test("what is not there is said so", async () => {
    await using peer = await setUp();
    for (const [method, path] of [
      ["GET", "/v1/jobs/none"],
      ["POST", "/v1/jobs/none/cancel"],
      ["POST", "/v1/jobs/none/dance"],
    ] as const)
      expect((await call(peer.url, method, path)).status).toBe(404);
    expect((await call(peer.url, "DELETE", "/v1/jobs/none")).status).toBe(405);
  });
});
