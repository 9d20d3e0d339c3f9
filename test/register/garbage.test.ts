import fc from "fast-check";
import { expect, test } from "vitest";
import { until } from "../until.ts";
import { behave, startFakeCoordinator, WELCOME } from "./fake-coordinator.ts";
import { messages } from "./messages.ts";
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
