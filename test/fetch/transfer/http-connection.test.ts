import { randomBytes } from "node:crypto";
import { setTimeout as later } from "node:timers/promises";
import fc from "fast-check";
import { beforeEach, describe, expect, it } from "vitest";
import {
  type ConnectionOptions,
  HttpConnection,
  type ResponseHead,
  type ResponseSink,
} from "../../../src/fetch/transfer/http-connection.ts";
import { SLOT_BYTES, type Slot, SlotPool } from "../../../src/fetch/transfer/slots.ts";
import { until } from "../../until.ts";
import { type RawServer, startRawServer } from "./raw-server.ts";
import { freeSlots } from "./slots.ts";

const SLOTS = 4;
const never = new AbortController().signal;
let slots: SlotPool;
let options: ConnectionOptions;
beforeEach(() => {
  slots = new SlotPool(SLOTS);
  options = { slots, stallTimeoutMs: 10_000, userAgent: "muster/test" };
});

/** Keeps what comes. */
class Collector implements ResponseSink {
  head: ResponseHead | null = null;
  readonly pieces: Buffer[] = [];
  flushes = 0;
  onHead(head: ResponseHead): void {
    this.head = head;
  }
  onBody(_slot: Slot, bytes: Buffer): Promise<void> | null {
    this.pieces.push(Buffer.from(bytes));
    return null;
  }
  flush(): Promise<void> | null {
    this.flushes += 1;
    return null;
  }
  get body(): Buffer {
    return Buffer.concat(this.pieces);
  }
  get text(): string {
    return this.body.toString("latin1");
  }
}

const open = (server: RawServer, signal = never) => HttpConnection.open(server.url, options, signal);

/** One request over a connection of its own. */
async function fetchOnce(server: RawServer, sink = new Collector(), signal = never): Promise<Collector> {
  const connection = await open(server, signal);
  try {
    await connection.get(server.url, {}, sink, signal);
    return sink;
  } finally {
    connection.destroy();
  }
}

/** Nothing of the connections is left: no slot, and no socket at the server. */
async function expectNothingLeft(server: RawServer): Promise<void> {
  await until("all sockets are closed", () => server.sockets.every(({ destroyed }) => destroyed));
  await until("all slots are free", () => freeSlots(slots) === SLOTS);
}

const head = (...lines: string[]) => `HTTP/1.1 ${lines.join("\r\n")}\r\n\r\n`;

describe("an answer", () => {
  it("is read, wherever it is cut into packets", async () => {
    const body = randomBytes(700);
    const chunked = [
      head("200 OK", "Transfer-Encoding: chunked"),
      "1f4;name=value\r\n",
      body.subarray(0, 500),
      "\r\nC8\r\n",
      body.subarray(500),
      "\r\n0\r\nX-Trailer: 1\r\n\r\n",
    ];
    const sized = [head("206 Partial Content", "Content-Length: 700", "X-Long:  spaced \t"), body];
    const texts = [chunked, sized].map((pieces) => Buffer.concat(pieces.map((piece) => Buffer.from(piece))));
    let answer: Buffer[] = [];
    const server = await startRawServer(async ({ request, send }) => {
      for (;;) {
        await request();
        await send(...answer);
      }
    });
    const connection = await open(server);
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...texts), fc.array(fc.nat(1500), { maxLength: 12 }), async (text, cuts) => {
        const places = [0, ...cuts.toSorted((a, b) => a - b), text.length];
        answer = places.slice(1).map((end, index) => text.subarray(places[index], end));
        const sink = new Collector();
        await connection.get(server.url, {}, sink, never);
        expect(sink.body.equals(body)).toBe(true);
        expect(connection.reusable).toBe(true);
      }),
      { numRuns: 60 },
    );
    // And each byte by itself.
    answer = [...texts[0]!].map((byte) => Buffer.of(byte));
    const sink = new Collector();
    await connection.get(server.url, {}, sink, never);
    expect([sink.body.equals(body), sink.head?.header("Transfer-Encoding".toLowerCase())]).toEqual([true, "chunked"]);
    expect(server.sockets).toHaveLength(1);
    connection.destroy();
    await expectNothingLeft(server);
  });

  it("serves for the next request, however much of the body comes with its end", async () => {
    const body = randomBytes((2 << 20) - (64 << 10));
    const server = await startRawServer(async ({ request, send }) => {
      for (;;) {
        await request();
        await send(Buffer.concat([Buffer.from(head("206 Partial Content", `Content-Length: ${body.length}`)), body]));
      }
    });
    const connection = await open(server);
    for (let nth = 0; nth < 20; nth += 1) {
      const sink = new Collector();
      await connection.get(server.url, {}, sink, never);
      expect([sink.body.equals(body), connection.reusable]).toEqual([true, true]);
    }
    expect(server.sockets).toHaveLength(1);
    connection.destroy();
    await expectNothingLeft(server);
  });

  it("of many slots comes whole", async () => {
    const body = randomBytes(5 * SLOT_BYTES + 77);
    const server = await startRawServer(async ({ request, send }) => {
      await request();
      await send(head("200 OK", `Content-Length: ${body.length}`), body);
    });
    const sink = await fetchOnce(server);
    expect(sink.body.equals(body)).toBe(true);
    expect(sink.flushes).toBeGreaterThan(3);
    await expectNothingLeft(server);
  });

  it("without a length ends with the connection", async () => {
    const server = await startRawServer(async ({ request, send, socket }) => {
      await request();
      await send(head("200 OK"), "to the", " end");
      socket.end();
    });
    expect((await fetchOnce(server)).text).toBe("to the end");
    await expectNothingLeft(server);
  });

  it("comes after others that only announce it", async () => {
    const server = await startRawServer(async ({ request, send }) => {
      await request();
      await send(head("100 Continue"), head("103 Early Hints", "Link: </style.css>"));
      await send(head("200 OK", "Content-Length: 2"), "ok");
    });
    const sink = await fetchOnce(server);
    expect([sink.head?.status, sink.text]).toEqual([200, "ok"]);
  });

  it("without a body leaves the connection for the next", async () => {
    const server = await startRawServer(async ({ request, send }) => {
      await request();
      await send(head("204 No Content"));
      await request();
      await send(head("200 OK", "Content-Length: 0"));
    });
    const connection = await open(server);
    for (const status of [204, 200]) {
      const sink = new Collector();
      await connection.get(server.url, {}, sink, never);
      expect([sink.head?.status, sink.text, connection.reusable]).toEqual([status, "", true]);
    }
    connection.destroy();
    await expectNothingLeft(server);
  });

  it("is the end of its connection where the server says so, in either version of HTTP", async () => {
    for (const text of [
      head("200 OK", "Connection: close", "Content-Length: 2"),
      "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n",
    ]) {
      const server = await startRawServer(async ({ request, send }) => {
        await request();
        await send(text, "ok");
      });
      const connection = await open(server);
      const sink = new Collector();
      await connection.get(server.url, {}, sink, never);
      expect([sink.text, connection.reusable]).toEqual(["ok", false]);
      await expectNothingLeft(server);
    }
  });

  it("that names a file by bytes of UTF-8 keeps them", async () => {
    const server = await startRawServer(async ({ request, send }) => {
      await request();
      await send(head("302 Found", "Location: /模型", "Content-Length: 0"));
    });
    const location = (await fetchOnce(server)).head?.header("location") ?? "";
    expect(Buffer.from(location, "latin1").toString()).toBe("/模型");
  });
});

describe("a request", () => {
  it("names the host, itself and what it was given", async () => {
    const server = await startRawServer(async ({ request, send }) => {
      await request();
      await send(head("200 OK", "Content-Length: 0"));
    });
    const connection = await open(server);
    await connection.get(server.url, { range: "bytes=0-1" }, new Collector(), never);
    const [line, ...headers] = server.requests[0]!.split("\r\n");
    expect(line).toBe("GET /file?query=1 HTTP/1.1");
    expect(headers.sort()).toEqual([`host: ${server.url.host}`, "range: bytes=0-1", "user-agent: muster/test"]);
    connection.destroy();
  });
});

describe("what is no answer", () => {
  const bombs = {
    "another protocol": "220 mail.example.org ESMTP\r\n",
    "a head without end": `HTTP/1.1 200 OK\r\n${"X-More: and more\r\n".repeat(20_000)}`,
    "a line without end": `HTTP/1.1 200 OK\r\nX-More: ${"x".repeat(200_000)}`,
    "two lengths": head("200 OK", "Content-Length: 1", "Content-Length: 2"),
    "a chunk without a size": `${head("200 OK", "Transfer-Encoding: chunked")}size\r\n`,
    // Taken at its word, this one leads the parser round in circles for good.
    "a chunk of less than nothing": `${head("200 OK", "Transfer-Encoding: chunked")}-5\r\nX`,
    "a chunk that never begins": `${head("200 OK", "Transfer-Encoding: chunked")}1;${"x".repeat(200_000)}`,
    "a chunk that goes on after its end": `${head("200 OK", "Transfer-Encoding: chunked")}1\r\nabc\r\n`,
  };
  for (const [what, text] of Object.entries(bombs)) {
    it(`${what} is refused at once`, async () => {
      const server = await startRawServer(async ({ request, send }) => {
        await request();
        await send(text);
      });
      await expect(fetchOnce(server)).rejects.toMatchObject({
        code: "RESPONSE_INVALID",
        message: expect.stringContaining("not HTTP"),
        hint: expect.stringContaining("proxy"),
      });
      await expectNothingLeft(server);
    });
  }

  it("an answer that breaks off is told, and what came of it is handed on", async () => {
    for (const reset of [false, true]) {
      const server = await startRawServer(async ({ request, send, socket }) => {
        await request();
        await send(head("200 OK", "Content-Length: 100"), "some of it");
        if (!reset) return socket.end();
        // Not before it was read: a reset takes with it what is still in the way.
        await until("it has come", () => sink.text === "some of it");
        socket.resetAndDestroy();
      });
      const sink = new Collector();
      await expect(fetchOnce(server, sink)).rejects.toMatchObject({ code: "HOST_UNREACHABLE" });
      expect([sink.text, sink.flushes]).toEqual(["some of it", 1]);
      await expectNothingLeft(server);
    }
  });
});

describe("bytes that nobody asked for", () => {
  it("after the end of an answer make the connection useless, whatever they look like", async () => {
    for (const extra of ["x", head("200 OK", "Content-Length: 100"), `${head("200 OK", "Content-Length: 3")}xyz`]) {
      const server = await startRawServer(async ({ request, send }) => {
        await request();
        await send(`${head("200 OK", "Content-Length: 3")}abc${extra}`);
      });
      const connection = await open(server);
      const sink = new Collector();
      await connection.get(server.url, {}, sink, never);
      expect([sink.text, connection.reusable]).toEqual(["abc", false]);
      await expectNothingLeft(server);
    }
  });

  it("on an idle connection end it", async () => {
    const server = await startRawServer(async ({ request, send, socket }) => {
      await request();
      await send(head("200 OK", "Content-Length: 3"), "abc");
      await taken;
      socket.write("and more");
    });
    const { promise: taken, resolve } = Promise.withResolvers<void>();
    const connection = await open(server);
    await connection.get(server.url, {}, new Collector(), never);
    expect(connection.reusable).toBe(true);
    resolve();
    await until("it is given up", () => !connection.reusable);
    await expectNothingLeft(server);
  });

  it("before the first request are no answer", async () => {
    const server = await startRawServer(({ send }) => send("SSH-2.0-OpenSSH_9.9\r\n"));
    await expect(fetchOnce(server)).rejects.toMatchObject({ message: expect.stringContaining(server.url.host) });
    await expectNothingLeft(server);
  });
});

describe("back-pressure", () => {
  it("stops reading, loses nothing, and is not taken for a stall of the server", async () => {
    options = { ...options, stallTimeoutMs: 100 };
    const body = randomBytes(20 * SLOT_BYTES);
    let sent = 0;
    const server = await startRawServer(async ({ request, send }) => {
      await request();
      await send(head("200 OK", `Content-Length: ${body.length}`));
      for (; sent < body.length; sent += SLOT_BYTES) await send(body.subarray(sent, sent + SLOT_BYTES));
    });
    let under = 0;
    class Slow extends Collector {
      override onBody(slot: Slot, bytes: Buffer): Promise<void> | null {
        expect(under, "nothing comes while it is busy").toBe(0);
        super.onBody(slot, bytes);
        if (this.pieces.length > 3) return null;
        under += 1;
        // Three times the time after which a silent server would be given up.
        return later(300).then(() => {
          under -= 1;
        });
      }
    }
    expect((await fetchOnce(server, new Slow())).body.equals(body)).toBe(true);
    await expectNothingLeft(server);
  });

  it("whose end is an error ends the request with it", async () => {
    const server = await startRawServer(async ({ request, send }) => {
      await request();
      await send(head("200 OK", "Content-Length: 100"), "some of it");
    });
    class Broken extends Collector {
      override onBody(): Promise<void> {
        return Promise.reject(new Error("the disk is gone"));
      }
    }
    await expect(fetchOnce(server, new Broken())).rejects.toThrow("the disk is gone");
    await expectNothingLeft(server);
  });
});

describe("what a sink throws", () => {
  class Throwing extends Collector {
    readonly #where: "onHead" | "onBody" | "flush";
    constructor(where: "onHead" | "onBody" | "flush") {
      super();
      this.#where = where;
    }
    #at(where: string): void {
      if (where === this.#where) throw new Error(`not wanted at ${where}`);
    }
    override onHead(): void {
      this.#at("onHead");
    }
    override onBody(): null {
      this.#at("onBody");
      return null;
    }
    override flush(): null {
      this.#at("flush");
      return null;
    }
  }
  for (const where of ["onHead", "onBody", "flush"] as const) {
    it(`at ${where} ends the request, and the connection`, async () => {
      const server = await startRawServer(async ({ request, send }) => {
        await request();
        await send(`${head("200 OK", "Content-Length: 3")}abc`);
      });
      const connection = await open(server);
      await expect(connection.get(server.url, {}, new Throwing(where), never)).rejects.toThrow(
        `not wanted at ${where}`,
      );
      expect(connection.reusable).toBe(false);
      await expectNothingLeft(server);
    });
  }
});

describe("a server that stalls", () => {
  const texts = { "before the first byte": "", "in the head": "HTTP/1.1 200 OK\r\nContent-Le", "in the body": "" };
  texts["in the body"] = `${head("200 OK", "Content-Length: 100")}some of it`;
  for (const [when, text] of Object.entries(texts)) {
    it(`${when} is given up`, async () => {
      options = { ...options, stallTimeoutMs: 100 };
      const server = await startRawServer(async ({ request, send }) => {
        await request();
        await send(text);
      });
      await expect(fetchOnce(server)).rejects.toMatchObject({
        code: "STALLED",
        hint: expect.stringContaining("STALL_TIMEOUT"),
      });
      await expectNothingLeft(server);
    });
  }

  it("in the handshake is given up", async () => {
    options = { ...options, stallTimeoutMs: 100 };
    const server = await startRawServer(() => undefined);
    const url = new URL(`https://${server.url.host}/`);
    await expect(HttpConnection.open(url, options, never)).rejects.toMatchObject({ code: "STALLED" });
    await expectNothingLeft(server);
  });

  it("while nothing is asked for is left alone, and given up in the end", async () => {
    options = { ...options, stallTimeoutMs: 100 };
    const server = await startRawServer(async ({ request, send }) => {
      await request();
      await send(head("200 OK", "Content-Length: 0"));
    });
    const connection = await open(server);
    await connection.get(server.url, {}, new Collector(), never);
    await until("it is closed", () => !connection.reusable);
    await expectNothingLeft(server);
  });
});

describe("an abort", () => {
  const reason = new Error("not wanted any more");
  const phases = {
    "before the first byte": [],
    "in the head": ["HTTP/1.1 200 OK\r\nContent-Le"],
    "in the body": [head("200 OK", "Content-Length: 1000000"), "some of it"],
  };
  for (const [when, pieces] of Object.entries(phases)) {
    it(`${when} ends it with its reason`, async () => {
      const stop = new AbortController();
      const server = await startRawServer(async ({ request, send }) => {
        await request();
        await send(...pieces);
        stop.abort(reason);
      });
      await expect(fetchOnce(server, new Collector(), stop.signal)).rejects.toBe(reason);
      await expectNothingLeft(server);
    });
  }

  it("during the handshake ends it with its reason", async () => {
    const stop = new AbortController();
    const server = await startRawServer(() => stop.abort(reason));
    const url = new URL(`https://${server.url.host}/`);
    await expect(HttpConnection.open(url, options, stop.signal)).rejects.toBe(reason);
    await expectNothingLeft(server);
  });

  it("while the sink is busy does not wait for it", async () => {
    const stop = new AbortController();
    const server = await startRawServer(async ({ request, send }) => {
      await request();
      await send(head("200 OK", "Content-Length: 100"), "some of it");
    });
    class Busy extends Collector {
      override onBody(): Promise<void> {
        setImmediate(() => stop.abort(reason));
        return new Promise(() => undefined);
      }
    }
    await expect(fetchOnce(server, new Busy(), stop.signal)).rejects.toBe(reason);
    await expectNothingLeft(server);
  });

  it("beforehand, or after the end, does nothing", async () => {
    const server = await startRawServer(async ({ request, send }) => {
      for (;;) {
        await request();
        await send(head("200 OK", "Content-Length: 0"));
      }
    });
    await expect(open(server, AbortSignal.abort(reason))).rejects.toBe(reason);
    const connection = await open(server);
    await expect(connection.get(server.url, {}, new Collector(), AbortSignal.abort(reason))).rejects.toBe(reason);
    const stop = new AbortController();
    await connection.get(server.url, {}, new Collector(), stop.signal);
    stop.abort(reason);
    await connection.get(server.url, {}, new Collector(), never);
    expect(connection.reusable).toBe(true);
    connection.destroy();
    await expectNothingLeft(server);
  });
});

it("says which host cannot be reached", async () => {
  const server = await startRawServer(({ socket }) => socket.resetAndDestroy());
  await expect(fetchOnce(server)).rejects.toMatchObject({
    code: "HOST_UNREACHABLE",
    message: expect.stringContaining(server.url.host),
  });
  expect(freeSlots(slots)).toBe(SLOTS);
});
