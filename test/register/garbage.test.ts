import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import fc from "fast-check";
import { expect, test } from "vitest";
import { WebSocketServer } from "ws";
import { encodeFrame, SUBPROTOCOL, type WorkerFrame } from "../../src/protocol.ts";
import { until } from "../until.ts";
import { behave, startFakeCoordinator, WELCOME } from "./fake-coordinator.ts";
import { messages } from "./messages.ts";
import { scriptedRunner } from "./scripted-runner.ts";
import { startWorker } from "./worker.ts";

const TYPES = ["welcome", "beat.ack", "job.offer", "job.cancel", "chunk.ack", "result.ack", "models.ensure", "pause"];

test.each([
  ["text that is no JSON", "{", "the message is not JSON"],
  ["a bare value", "null", "the message has no type"],
  ["a frame only workers send", JSON.stringify({ t: "beat", n: 1 }), "beat: t:"],
  ["a field of the wrong type", JSON.stringify({ t: "beat.ack", n: "1" }), "beat.ack: n:"],
  ["a second welcome", JSON.stringify(WELCOME), "welcome: twice"],
  ["binary", Buffer.from('{"t":"pause"}'), "binary message"],
])("%s closes with 4000 and the reason, and the worker comes back", async (_, message, reason) => {
  await using peer = await startFakeCoordinator((session, frame, position) => {
    behave(session, frame);
    if (position === 0 && frame.t === "beat") session.socket.send(message);
  });
  await using worker = startWorker(peer.url);
  const closed = await (await until("it connected", () => peer.sessions[0])).closed;
  expect(closed.code).toBe(4000);
  expect(closed.reason).toContain(reason);
  await until("it is back", () => peer.sessions.length === 2 && worker.board.current.coordinator?.connected);
});

test("a frame before the welcome closes with 4000, even one right behind the upgrade", async () => {
  await using peer = await startFakeCoordinator(
    () => undefined,
    (session) => session.send({ t: "pause" }),
  );
  await using worker = startWorker(peer.url, { helloTimeoutMs: 60_000 });
  const closed = await (await until("it connected", () => peer.sessions[0])).closed;
  expect(closed).toEqual({ code: 4000, reason: "pause: before welcome" });
  expect(worker.commands).toEqual([]);
});

test("a message over maxFrame closes with 1009; the worker keeps to it as well", async () => {
  await using peer = await startFakeCoordinator((session, frame, position) => {
    if (position > 0) return behave(session, frame);
    if (frame.t === "hello") session.send({ ...WELCOME, maxFrame: 2048 });
    if (frame.t === "model.state") session.send({ t: "models.ensure", models: ["x".repeat(4096)] });
  });
  await using worker = startWorker(peer.url);
  await until("it is connected", () => worker.board.current.coordinator?.connected);
  worker.board.setModel("large", { location: "x".repeat(4096) });
  worker.board.setModel("small", { state: "fetching" });
  const closed = await peer.sessions[0]!.closed;
  expect(closed.code).toBe(1009);
  expect(peer.sessions[0]?.frames.filter((frame) => frame.t === "model.state")).toMatchObject([{ model: "small" }]);
  await until("it is back", () => peer.sessions.length === 2 && worker.board.current.coordinator?.connected);
});

test("unknown types are ignored", async () => {
  await using peer = await startFakeCoordinator(behave);
  await using worker = startWorker(peer.url);
  await until("it is connected", () => worker.board.current.coordinator?.connected);
  const [session] = peer.sessions;
  session?.socket.send(JSON.stringify({ t: "weather", rain: true }));
  session?.send({ t: "pause" });
  await until("what follows is obeyed", () => worker.commands.length === 1);
  expect(peer.sessions).toHaveLength(1);
});

test("no message a coordinator can send brings the worker down", async () => {
  const sample = fc.sample(messages(TYPES), 300);
  const codes = new Set<number>();
  await using peer = await startFakeCoordinator((session, frame, position) => {
    const message = sample[position];
    if (message === undefined) return behave(session, frame);
    // Every other one before the welcome. A message that is taken is followed by one that is not.
    if (frame.t !== "hello") return;
    if (position % 2) session.send(WELCOME);
    session.socket.send(message);
    session.socket.send("end");
    session.closed.then(({ code }) => codes.add(code));
  });
  await using worker = startWorker(peer.url, { reconnect: { minMs: 1, maxMs: 1 } });
  await until("all were sent", () => peer.sessions.length > sample.length, 50_000);
  await until("the worker is well", () => worker.board.current.coordinator?.lastAckAt);
  expect([...codes].filter((code) => ![1000, 4000].includes(code))).toEqual([]);
});

const jobId = fc.constantFrom("__proto__", "constructor", "toString", "a", "b", "\u0000", "x".repeat(256));
const number = fc.oneof(fc.nat(3), fc.constantFrom(0, 1, Number.MAX_SAFE_INTEGER));
const deep = fc.constantFrom(1, 10, 100, 100, 5_000).map((depth) => `${'{"a":['.repeat(depth)}${"]}".repeat(depth)}`);
const input = fc.oneof(fc.json(), deep, fc.constant('{"__proto__":{"stream":true},"constructor":null}'));
const quoted = jobId.map((id) => JSON.stringify(id));
/** Well formed, and as hostile as that allows. */
const taken = fc.oneof(
  fc
    .tuple(quoted, number, number, input, fc.boolean())
    .map(
      ([id, attempt, remainingMs, body, stream]) =>
        `{"t":"job.offer","jobId":${id},"attempt":${attempt},"lease":"l","kind":"chat","model":${id},"input":${body},"remainingMs":${remainingMs},"stream":${stream}}`,
    ),
  fc
    .tuple(fc.constantFrom("job.cancel", "chunk.ack", "result.ack"), quoted, number, number)
    .map(([t, id, attempt, cs]) => `{"t":"${t}","jobId":${id},"attempt":${attempt},"cs":${cs}}`),
  fc.tuple(number, quoted).map(([n, id]) => `{"t":"beat.ack","n":${n},"lost":[${id}],"renewed":[${id}]}`),
  fc.constantFrom(
    '{"t":"pause"}',
    '{"t":"models.sync"}',
    '{"t":"__proto__"}',
    '{"t":"pause","__proto__":{"t":"drain"}}',
  ),
);

test("a hundred thousand frames, most of them well formed and hostile, leave the worker well", async () => {
  const good = fc.sample(taken, 2_000);
  const bad = fc.sample(messages([...TYPES, "job.offer", "result.ack"]), 200);
  const perSession = 1_000;
  const total = 100_000;
  let sent = 0;
  await using peer = await startFakeCoordinator((session, frame) => {
    behave(session, frame);
    // Once it says something after its welcome it gets a thousand at once, and at the end one that is none.
    if (frame.t !== "beat" || frame.n !== 1 || sent >= total) return;
    for (let n = 0; n < perSession; n += 1) session.socket.send(good[(sent + n * 7) % good.length]!);
    session.socket.send(bad[(sent / perSession) % bad.length]!);
    session.socket.send("end");
    sent += perSession;
  });
  const runner = scriptedRunner({ chat: 3 });
  // Every other job ends with what it was given, the rest stay until they are cancelled or their time is over.
  runner.onSlots(() => {
    for (const { job, over, onChunk, end } of runner.executions.slice(-3)) {
      if (over || job.attempt % 2) continue;
      queueMicrotask(() => {
        onChunk(job.input);
        end({ output: job.input });
      });
    }
  });
  await using worker = startWorker(peer.url, { runner, reconnect: { minMs: 1, maxMs: 1 } });
  await until("all were sent", () => sent >= total, 50_000);
  const sessions = peer.sessions.length;
  await until(
    "the worker is well",
    () => peer.sessions.length > sessions && worker.board.current.coordinator?.lastAckAt,
  );
  expect(runner.executions.length).toBeGreaterThan(100);
  expect(worker.lines.filter(({ level }) => level > 40)).toEqual([]);
  expect(({} as Record<string, unknown>).stream).toBeUndefined();
});

/** One WebSocket frame as it stands on the wire. */
const wire = fc
  .record({
    first: fc.integer({ min: 0, max: 255 }),
    masked: fc.boolean(),
    length: fc.constantFrom("true", "short", "2^32", "2^62", "2^64"),
    body: fc.oneof(fc.uint8Array({ maxLength: 125 }), fc.constant(Buffer.from('{"t":"pause"}'))),
  })
  .map(({ first, masked, length, body }) => {
    const mask = masked ? 0x80 : 0;
    const long = { "2^32": 2n ** 32n, "2^62": 2n ** 62n, "2^64": 2n ** 64n - 1n }[length as "2^32"];
    if (long === undefined) {
      const told = length === "short" ? Math.max(0, body.length - 1) : body.length;
      return Buffer.concat([Buffer.from([first, mask | told]), body]);
    }
    const head = Buffer.alloc(10);
    head[0] = first;
    head[1] = mask | 127;
    head.writeBigUInt64BE(long, 2);
    return Buffer.concat([head, body]);
  });

test("nor does anything below messages: frames with wrong bits, lengths beyond all memory, answers that end half-way", async () => {
  const blobs = fc.sample(fc.array(wire, { minLength: 1, maxLength: 20 }), 500).map((frames) => Buffer.concat(frames));
  let connections = 0;
  const http = createServer();
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => SUBPROTOCOL });
  http.on("upgrade", (request, socket, head) => {
    const blob = blobs[connections];
    connections += 1;
    socket.on("error", () => undefined);
    if (!blob) {
      sockets.handleUpgrade(request, socket, head, (opened) => {
        opened.on("message", (data) => {
          const frame = JSON.parse(data.toString()) as WorkerFrame;
          if (frame.t === "hello") opened.send(encodeFrame(WELCOME));
          if (frame.t === "beat") opened.send(encodeFrame({ t: "beat.ack", n: frame.n }));
        });
      });
      return;
    }
    const key = `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
    const accept = createHash("sha1").update(key).digest("base64");
    const answer = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: ${SUBPROTOCOL}\r\n\r\n`;
    // Some get a welcome first, and some less than an answer.
    const welcome = Buffer.from(encodeFrame(WELCOME));
    const greeting =
      connections % 2 ? [] : [Buffer.from([0x81, 126, welcome.length >> 8, welcome.length & 255]), welcome];
    const whole = Buffer.concat([Buffer.from(answer), ...greeting, blob]);
    socket.end(connections % 7 === 0 ? whole.subarray(0, connections % whole.length) : whole);
  });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  {
    const url = `ws://127.0.0.1:${(http.address() as AddressInfo).port}`;
    await using worker = startWorker(url, { reconnect: { minMs: 1, maxMs: 1 } });
    await until("all were sent", () => connections > blobs.length, 50_000);
    await until("the worker is well", () => worker.board.current.coordinator?.lastAckAt);
    expect(worker.lines.filter(({ level }) => level > 40)).toEqual([]);
  }
  http.closeAllConnections();
  http.close();
});
