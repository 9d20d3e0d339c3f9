import { once } from "node:events";
import { connect } from "node:net";
import { expect, test } from "vitest";
import { until } from "../../until.ts";
import { joinRaw, startRawCoordinator } from "../raw-fleet.ts";
import { beat } from "../raw-worker.ts";

const BODY = { model: "llama", messages: [{ role: "user", content: "Hi" }], stream: true };

const piece = (content: string) => ({
  ...{ id: "c", object: "chat.completion.chunk", created: 1, model: "llama" },
  choices: [{ index: 0, delta: { content }, finish_reason: null }],
});
const whole = (content: string) => ({
  output: {
    ...{ id: "c", object: "chat.completion", created: 1, model: "llama" },
    choices: [{ index: 0, message: { role: "assistant", content }, logprobs: null, finish_reason: "stop" }],
    usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 },
  },
});
const LOST = { status: "failed", error: { code: "ENGINE_DOWN", message: "gone", retryable: true } } as const;

const ask = (url: string, change: object = {}) =>
  fetch(`${url}/v1/chat/completions`, { method: "POST", body: JSON.stringify({ ...BODY, ...change }) });

/** The events of a stream. */
async function eventsOf(response: Response) {
  const text = await response.text();
  const data = [...text.matchAll(/^data: (.*)$/gm)].map(([, line = ""]) => line);
  const chunks = data.filter((line) => line !== "[DONE]").map((line) => JSON.parse(line));
  return {
    text: chunks.map(({ choices }) => choices?.[0]?.delta?.content ?? "").join(""),
    error: chunks.find(({ error }) => error)?.error,
    ends: chunks.flatMap(({ choices }) => choices ?? []).filter(({ finish_reason }) => finish_reason).length,
    isDone: data.at(-1) === "[DONE]",
    comments: [...text.matchAll(/^: (.*)$/gm)].map(([, comment]) => comment),
  };
}

test("a lost attempt whose text comes again goes on where it was", async () => {
  await using peer = await startRawCoordinator();
  using worker = await joinRaw(peer.wsUrl, { credit: 9 });
  const asked = ask(peer.url);
  const first = await worker.offer();
  worker.chunk(first, 0, piece("The sky "));
  worker.chunk(first, 1, piece("is "));
  const response = await asked;
  worker.answer(first, "", LOST);
  const second = await worker.offer(2);
  expect(second).toMatchObject({ jobId: first.jobId, attempt: 2 });
  for (const [cs, text] of ["The ", "sky is b", "lue"].entries()) worker.chunk(second, cs, piece(text));
  worker.answer(second, "", whole("The sky is blue"));
  expect(await eventsOf(response)).toMatchObject({ text: "The sky is blue", ends: 1, isDone: true, error: undefined });
});

test("what no engine would answer does not reach the client, whole or in pieces", async () => {
  await using peer = await startRawCoordinator();
  using worker = await joinRaw(peer.wsUrl, { credit: 9 });
  for (const [nth, output] of [undefined, null, "str", ["x"]].entries()) {
    const asked = ask(peer.url, { stream: false });
    worker.answer(await worker.offer(nth + 1), "", { output });
    const response = await asked;
    expect(response.status).toBe(502);
    expect(await response.json()).toMatchObject({ error: { code: "invalid_answer" } });
  }
  const asked = ask(peer.url);
  const offer = await worker.offer(5);
  worker.chunk(offer, 0, null);
  worker.answer(offer, "", { output: "str" });
  expect(await (await asked).text()).not.toContain("Cannot read");
});

test("a lost attempt whose text is another ends the stream with an error, and the job with it", async () => {
  await using peer = await startRawCoordinator();
  using worker = await joinRaw(peer.wsUrl, { credit: 9 });
  const asked = ask(peer.url);
  const first = await worker.offer();
  worker.chunk(first, 0, piece("The sky "));
  const response = await asked;
  worker.answer(first, "", LOST);
  const second = await worker.offer(2);
  worker.accept(second);
  worker.chunk(second, 0, piece("Well, "));
  expect(await eventsOf(response)).toMatchObject({ text: "The sky ", isDone: false, error: { code: "worker_lost" } });
  await until("the worker is told", () => worker.all("job.cancel")[0]);
});

test("before its first piece a lost attempt is nobody's business", async () => {
  await using peer = await startRawCoordinator();
  using worker = await joinRaw(peer.wsUrl, { credit: 9 });
  const asked = ask(peer.url);
  worker.answer(await worker.offer(1), "", LOST);
  const second = await worker.offer(2);
  worker.chunk(second, 0, piece("hi"));
  worker.answer(second, "", whole("hi"));
  expect(await eventsOf(await asked)).toMatchObject({ text: "hi", isDone: true, error: undefined });
});

test("pieces that did not come are taken from the whole answer", async () => {
  await using peer = await startRawCoordinator();
  using worker = await joinRaw(peer.wsUrl);
  const asked = ask(peer.url, { stream_options: { include_usage: true } });
  const offer = await worker.offer();
  worker.chunk(offer, 0, piece("Hel"));
  worker.answer(offer, "", whole("Hello"));
  const response = await asked;
  expect(response.headers.get("x-muster-worker-id")).toBe("worker-1");
  expect(await eventsOf(response)).toMatchObject({ text: "Hello", ends: 1, isDone: true });
});

test("one that waits says so, and ends with its error in the stream", async () => {
  await using peer = await startRawCoordinator({ keepAliveMs: 20, leaseMs: 40_000 });
  using worker = await joinRaw(peer.wsUrl, { credit: 0 });
  const response = await ask(peer.url);
  expect(response.headers.get("content-type")).toContain("text/event-stream");
  worker.send({ t: "credit", kind: "chat", n: 1 });
  const offer = await worker.offer();
  worker.answer(offer, "", { status: "failed", error: { code: "INVALID_INPUT", message: "no", retryable: false } });
  const { comments, error } = await eventsOf(response);
  expect(comments).toContain("queued");
  expect(error).toMatchObject({ type: "invalid_request_error", message: "no" });
});

test("a client that does not read is waited for by its stream alone, and gets all in the end", async () => {
  await using peer = await startRawCoordinator();
  using worker = await joinRaw(peer.wsUrl, { credit: 2 });
  const body = JSON.stringify(BODY);
  const socket = connect(peer.port, "127.0.0.1");
  await once(socket, "connect");
  socket.write(
    `POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
  );
  const slow = await worker.offer();
  const text = "x".repeat(60_000);
  const isAcknowledged = (cs: number) =>
    worker.all("chunk.ack").some((ack) => ack.jobId === slow.jobId && ack.cs >= cs);
  // Sockets hold a few megabytes by themselves; then acknowledgements stay away.
  let sent = 0;
  do {
    worker.chunk(slow, sent, piece(text));
    worker.send(beat(sent + 2));
    await until("the beat is acknowledged", () => worker.all("beat.ack").some(({ n }) => n === sent + 2));
    sent += 1;
  } while (isAcknowledged(sent - 1) && sent < 1_000);
  expect(isAcknowledged(sent - 1)).toBe(false);

  const other = ask(peer.url);
  const quick = await worker.offer(2);
  worker.chunk(quick, 0, piece("hi"));
  worker.answer(quick, "", whole("hi"));
  expect(await eventsOf(await other)).toMatchObject({ text: "hi", isDone: true });

  // The worker's ring is full: the rest comes with the result only.
  worker.answer(slow, "", whole(`${text.repeat(sent)}the end`));
  await until("the result is acknowledged", () => worker.all("result.ack").length === 2);
  let received = "";
  socket.setEncoding("latin1").on("data", (data: string) => {
    received += data;
  });
  await once(socket, "close");
  expect(received.match(/x{1000,}/g)?.join("").length).toBe(60_000 * sent);
  expect(received).toContain("the end");
  expect(received).toContain("data: [DONE]");
});
