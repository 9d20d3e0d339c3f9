import { expect, test } from "vitest";
import { openMemoryStore } from "../../../src/coordinator/stores/memory.ts";
import { until } from "../../until.ts";
import { CHAT, joinRaw, MODEL, startRawCoordinator } from "../raw-fleet.ts";

async function setUp(options: Parameters<typeof startRawCoordinator>[0] = {}) {
  const peer = await startRawCoordinator(options);
  const call = async (method: string, path: string, body?: object, headers: Record<string, string> = {}) => {
    const response = await fetch(peer.url + path, { method, headers, ...(body ? { body: JSON.stringify(body) } : {}) });
    // biome-ignore lint/suspicious/noExplicitAny: whatever the API answers
    return { status: response.status, headers: response.headers, body: (await response.json()) as any };
  };
  return { peer, call, [Symbol.asyncDispose]: () => peer.close() };
}

test("an Idempotency-Key finds the same job again, and no other one", async () => {
  await using api = await setUp();
  const key = { "idempotency-key": "order 7" };
  const first = await api.call("POST", "/v1/jobs", { ...CHAT }, key);
  const again = await api.call("POST", "/v1/jobs", { ...CHAT }, key);
  expect(again).toMatchObject({ status: 202, body: { id: first.body.id, createdAt: first.body.createdAt } });
  const other = await api.call("POST", "/v1/jobs", { ...CHAT, model: "other" }, key);
  expect(other).toMatchObject({ status: 422, body: { error: { code: "idempotency_key_reused" } } });
  expect((await api.call("POST", "/v1/jobs", { ...CHAT })).body.id).not.toBe(first.body.id);
});

test("jobs are listed in pages, newest first, by state", async () => {
  await using api = await setUp();
  for (const id of ["a", "b", "c", "d", "e"]) await api.call("POST", "/v1/jobs", { ...CHAT, id });
  await api.call("POST", "/v1/jobs/c/cancel");
  const ids = async (query: string) => {
    const { body } = await api.call("GET", `/v1/jobs${query}`);
    return { ids: body.data.map(({ id }: { id: string }) => id).join(""), more: body.has_more, last: body.last_id };
  };
  expect(await ids("")).toEqual({ ids: "edcba", more: false, last: "a" });
  expect(await ids("?limit=2")).toEqual({ ids: "ed", more: true, last: "d" });
  expect(await ids("?limit=2&after=d")).toEqual({ ids: "cb", more: true, last: "b" });
  expect(await ids("?state=queued")).toMatchObject({ ids: "edba" });
  expect(await ids("?state=cancelled")).toMatchObject({ ids: "c" });
  expect(await api.call("GET", "/v1/jobs?limit=0")).toMatchObject({ status: 400 });
});

test("a job finds its model by any of its names, and itself under the one that it was sent with", async () => {
  await using api = await setUp();
  const asked = { ...CHAT, model: "hf:acme/tiny", id: "a" };
  const before = await api.call("POST", "/v1/jobs", asked);
  expect(before).toMatchObject({ status: 202, body: { model: "hf:acme/tiny" } });
  const models = [{ ...MODEL, model: "tiny", location: "acme/tiny", asked: ["hf:acme/tiny"] }];
  using worker = await joinRaw(api.peer.wsUrl, { credit: 3, models });
  expect(await api.call("POST", "/v1/jobs", asked)).toMatchObject({ status: 202, body: { id: "a" } });
  for (const [id, model] of Object.entries({ b: "hf:acme/tiny", c: "acme-tiny", d: "acme/tiny" }))
    expect((await api.call("POST", "/v1/jobs", { ...CHAT, id, model })).status).toBe(202);
  await worker.offer(3);
  const offers = worker.all("job.offer").map(({ jobId, model }) => [jobId, model]);
  expect(offers).toEqual([
    ["b", "tiny"],
    ["c", "tiny"],
    ["d", "acme/tiny"],
  ]);
});

test("a kind of jobs that came with a worker just now is not refused", async () => {
  await using api = await setUp();
  using _chats = await joinRaw(api.peer.wsUrl);
  const request = { model: MODEL.model, input: "a text" };
  const refused = await api.call("POST", "/v1/embeddings", request);
  expect(refused).toMatchObject({ status: 400, body: { error: { code: "unsupported" } } });
  using other = await joinRaw(api.peer.wsUrl, { workerId: "worker-2", slots: { embedding: 1 } });
  other.send({ t: "credit", kind: "embedding", n: 1 });
  const answer = api.call("POST", "/v1/embeddings", request);
  other.answer(await other.offer(), "as it is", { output: { object: "list", data: [] } });
  expect(await answer).toMatchObject({ status: 200, body: { object: "list" } });
});

test("a full queue says when to come back", async () => {
  await using api = await setUp({ maxQueue: 2 });
  for (const id of ["a", "b"]) expect((await api.call("POST", "/v1/jobs", { ...CHAT, id })).status).toBe(202);
  const refused = await api.call("POST", "/v1/jobs", { ...CHAT, id: "c" });
  expect(refused).toMatchObject({ status: 429, body: { error: { type: "rate_limit_error", code: "queue_full" } } });
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  // What there is already may be asked for again.
  expect((await api.call("POST", "/v1/jobs", { ...CHAT, id: "a" })).status).toBe(202);
});

test("those of a higher priority go first, and those that came first within one", async () => {
  await using api = await setUp();
  for (const [id, priority] of Object.entries({ a: 0, b: 5, c: -1, d: 5, e: 0 }))
    await api.call("POST", "/v1/jobs", { ...CHAT, id, priority });
  using worker = await joinRaw(api.peer.wsUrl, { credit: 5 });
  await worker.offer(5);
  expect(worker.all("job.offer").map(({ jobId }) => jobId)).toEqual(["b", "d", "a", "e", "c"]);
});

test("inputs go when a job ends, unless they are to be kept", async () => {
  await using api = await setUp();
  await api.call("POST", "/v1/jobs", { ...CHAT, id: "gone" });
  await api.call("POST", "/v1/jobs", { ...CHAT, id: "kept", keepInput: true });
  using worker = await joinRaw(api.peer.wsUrl, { credit: 2 });
  await worker.offer(2);
  for (const offer of worker.all("job.offer")) worker.answer(offer, "hi");
  await until("both are done", () => worker.all("result.ack").length === 2);
  expect(await api.peer.jobs.get("gone")).toMatchObject({ input: null, outcome: { output: { text: "hi" } } });
  expect(await api.peer.jobs.get("kept")).toMatchObject({ input: CHAT.input });
});

test("a job that failed or was cancelled is done anew where its input was kept", async () => {
  await using api = await setUp();
  const statuses: Record<string, number> = {};
  for (const [id, keepInput] of [
    ["kept", true],
    ["gone", false],
  ] as const) {
    await api.call("POST", "/v1/jobs", { ...CHAT, id, keepInput, priority: 7, timeoutMs: 60_000 });
    expect(await api.call("POST", `/v1/jobs/${id}/retry`)).toMatchObject({
      status: 409,
      body: { error: { code: "job_not_failed" } },
    });
    await api.call("POST", `/v1/jobs/${id}/cancel`);
    const again = await api.call("POST", `/v1/jobs/${id}/retry`);
    statuses[id] = again.status;
    if (again.status !== 202) expect(again.body.error.code).toBe("input_not_kept");
    else {
      expect(again.body).toMatchObject({ state: "queued", priority: 7 });
      expect(again.headers.get("location")).toBe(`/v1/jobs/${again.body.id}`);
      expect(await api.peer.jobs.get(again.body.id)).toMatchObject({ input: CHAT.input, keepInput: true });
    }
  }
  expect(statuses).toEqual({ kept: 202, gone: 409 });
  expect((await api.call("POST", "/v1/jobs/nobody/retry")).status).toBe(404);
});

test("what becomes of a job is told by events, and from where one was", async () => {
  await using api = await setUp();
  await api.call("POST", "/v1/jobs", { ...CHAT, id: "a", stream: true });
  const all = fetch(`${api.peer.url}/v1/jobs/a/events`).then((response) => response.text());
  using worker = await joinRaw(api.peer.wsUrl);
  const offer = await worker.offer();
  worker.accept(offer);
  for (const [cs, delta] of ["a", "b", "c"].entries()) worker.chunk(offer, cs, delta);
  await until("they have come", () => worker.all("chunk.ack").length === 3);
  const later = await fetch(`${api.peer.url}/v1/jobs/a/events`, { headers: { "last-event-id": "1:0" } });
  const reader = later.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  while (!rest.includes("id: 1:2")) rest += (await reader.read()).value ?? "";
  await until("both follow", async () => true);
  worker.answer(offer, "abc");
  const lines = async (text: Promise<string>) => (await text).split("\n").filter((line) => /^(event|id)/.test(line));
  expect(await lines(all)).toEqual([
    ...["event: state", "event: state"],
    ...["id: 1:0", "event: chunk", "id: 1:1", "event: chunk", "id: 1:2", "event: chunk", "event: end"],
  ]);
  while (!rest.includes("event: end")) rest += (await reader.read()).value ?? "";
  expect(rest).not.toContain("id: 1:0");
  expect(rest).toContain('"text":"abc"');
  const end = await (await fetch(`${api.peer.url}/v1/jobs/a/events`)).text();
  expect(end).toMatch(/^event: end\ndata: \{"object":"job","id":"a".*\n\n$/);
});

test("jobs that ended long ago are forgotten", async () => {
  const store = openMemoryStore();
  await using api = await setUp({ store });
  await api.call("POST", "/v1/jobs", { ...CHAT, id: "a" });
  await api.call("POST", "/v1/jobs", { ...CHAT, id: "b" });
  await api.call("POST", "/v1/jobs/a/cancel");
  await store.prune(Date.now() + 1);
  expect((await api.call("GET", "/v1/jobs/a")).status).toBe(404);
  expect((await api.call("GET", "/v1/jobs/b")).status).toBe(200);
});
