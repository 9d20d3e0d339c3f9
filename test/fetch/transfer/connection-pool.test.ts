import { beforeEach, expect, it } from "vitest";
import { ConnectionPool } from "../../../src/fetch/transfer/connection-pool.ts";
import { SlotPool } from "../../../src/fetch/transfer/slots.ts";
import { until } from "../../until.ts";
import { type RawServer, startRawServer } from "./raw-server.ts";
import { freeSlots } from "./slots.ts";

const SLOTS = 8;
const never = new AbortController().signal;
let slots: SlotPool;
let pool: ConnectionPool;
beforeEach(() => {
  slots = new SlotPool(SLOTS);
  pool = new ConnectionPool({ slots, stallTimeoutMs: 1_000, userAgent: "muster/test" });
});

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async function ask({ url }: RawServer, signal = never): Promise<string> {
  let text = "";
  const onBody = (_slot: unknown, bytes: Buffer) => {
    text += bytes.toString();
    return null;
  };
  await pool.get(url, {}, { onHead: () => undefined, onBody, flush: () => null }, signal);
  return text;
}

async function expectNothingLeft(server: RawServer): Promise<void> {
  for (const socket of server.sockets) socket.destroy();
  await until("all slots are free", () => freeSlots(slots) === SLOTS);
}

it("uses a connection again, and has no more than requests at once", async () => {
  const server = await startRawServer(async ({ request, send }) => {
    for (;;) {
      await request();
      await send(ok);
    }
  });
  for (let round = 0; round < 5; round += 1) expect(await ask(server)).toBe("ok");
  expect(server.sockets).toHaveLength(1);
  await Promise.all([ask(server), ask(server), ask(server)]);
  expect(server.sockets).toHaveLength(3);
  await Promise.all([ask(server), ask(server), ask(server)]);
  expect(server.sockets).toHaveLength(3);
  await expectNothingLeft(server);
});

it("replaces a connection that the server closes just when it is used again", async () => {
  const server = await startRawServer(async ({ request, send, socket }, nth) => {
    await request();
    await send(ok);
    await request();
    // Politely or not.
    if (nth % 2 === 0) socket.end();
    else socket.resetAndDestroy();
  });
  for (let round = 0; round < 5; round += 1) expect(await ask(server)).toBe("ok");
  expect(server.sockets).toHaveLength(5);
  await expectNothingLeft(server);
});

it("gives up a connection that the server closed while it was idle", async () => {
  const server = await startRawServer(async ({ request, send, socket }) => {
    await request();
    await send(ok);
    socket.end();
  });
  expect(await ask(server)).toBe("ok");
  await until("the server has closed it", () => server.sockets[0]!.destroyed);
  expect(await ask(server)).toBe("ok");
  expect(server.sockets).toHaveLength(2);
  await expectNothingLeft(server);
});

it("asks no second time where an answer had begun, or the connection was new", async () => {
  const server = await startRawServer(async ({ request, send, socket }, nth) => {
    await request();
    if (nth === 1) {
      await send(ok);
      await request();
      await send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nso");
    }
    socket.end();
  });
  expect(await ask(server)).toBe("ok");
  await expect(ask(server)).rejects.toMatchObject({ code: "HOST_UNREACHABLE" });
  await expect(ask(server)).rejects.toMatchObject({ code: "HOST_UNREACHABLE" });
  expect([server.sockets.length, server.requests.length]).toEqual([2, 3]);
  await expectNothingLeft(server);
});

it("asks no second time for what is cancelled", async () => {
  const stop = new AbortController();
  const server = await startRawServer(async ({ request, send }) => {
    await request();
    await send(ok);
    await request();
    stop.abort(new Error("not wanted"));
  });
  expect(await ask(server)).toBe("ok");
  await expect(ask(server, stop.signal)).rejects.toThrow("not wanted");
  expect(server.sockets).toHaveLength(1);
  await expectNothingLeft(server);
});

it("keeps the connections of different servers apart", async () => {
  const greet = (word: string) =>
    startRawServer(async ({ request, send }) => {
      for (;;) {
        await request();
        await send(`HTTP/1.1 200 OK\r\nContent-Length: ${word.length}\r\n\r\n${word}`);
      }
    });
  const [one, other] = [await greet("one"), await greet("other")];
  for (let round = 0; round < 3; round += 1) expect([await ask(one), await ask(other)]).toEqual(["one", "other"]);
  expect([one.sockets.length, other.sockets.length]).toEqual([1, 1]);
});
