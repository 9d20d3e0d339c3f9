import { randomBytes } from "node:crypto";
import { beforeEach, describe, expect, it } from "vitest";
import { ConnectionPool } from "../../../src/fetch/transfer/connection-pool.ts";
import { openRange, type RangeSource } from "../../../src/fetch/transfer/open-range.ts";
import { type Slot, SlotPool } from "../../../src/fetch/transfer/slots.ts";
import type { Range } from "../../../src/store/ranges.ts";
import { type RawServer, startRawServer } from "./raw-server.ts";

const content = randomBytes(1000);
const never = new AbortController().signal;
let pool: ConnectionPool;
beforeEach(() => {
  pool = new ConnectionPool({ slots: new SlotPool(8), stallTimeoutMs: 1_000, userAgent: "muster/test" });
});

type Answer = (path: string, head: string) => string | [head: string, body: Buffer];

/** Answers each request by its path and head; a text without a body gets none. */
function startServer(answer: Answer): Promise<RawServer> {
  return startRawServer(async ({ request, send }) => {
    for (;;) {
      const head = await request();
      const [lines, body] = [answer(head.split(" ")[1]!, head)].flat() as [string, Buffer | undefined];
      const length = /^content-length|^transfer-encoding/im.test(lines)
        ? ""
        : `\r\nContent-Length: ${body?.length ?? 0}`;
      await send(`HTTP/1.1 ${lines}${length}\r\n\r\n`, ...(body?.length ? [body] : []));
    }
  });
}

function rangeOf(head: string): Range {
  const [, start, end] = /^range: bytes=(\d+)-(\d+)$/im.exec(head) ?? [];
  return start ? { start: Number(start), end: Number(end) + 1 } : { start: 0, end: content.length };
}

/** A server that does as it should. */
const serve: Answer = (_path, head) => {
  const { start, end } = rangeOf(head);
  const partial = `206 Partial Content\r\nETag: "one"\r\nContent-Range: bytes ${start}-${end - 1}/${content.length}`;
  return [/^range:/im.test(head) ? partial : '200 OK\r\nETag: "one"', content.subarray(start, end)];
};

function sourceAt({ url }: RawServer, change: Partial<RangeSource> = {}): RangeSource {
  return {
    url: `${url.origin}/file`,
    authorization: "Bearer secret",
    signed: false,
    name: "acme/model: file",
    page: `${url.origin}/acme/model`,
    size: content.length,
    direct: null,
    etag: null,
    ...change,
  };
}

async function fetchRange(source: RangeSource, range: Range) {
  const pieces: Buffer[] = [];
  const writer = {
    write(_slot: Slot, bytes: Buffer) {
      pieces.push(Buffer.from(bytes));
      return null;
    },
    flush: () => null,
  };
  const outcome = await openRange(source, range, writer, { pool, signal: never });
  return { outcome, body: Buffer.concat(pieces) };
}

const middle = { start: 200, end: 300 };
const all = { start: 0, end: content.length };

describe("a range", () => {
  it("is asked for, and comes; the whole file without the word", async () => {
    const server = await startServer(serve);
    const source = sourceAt(server);
    for (const range of [middle, all, { start: 999, end: 1000 }]) {
      const { outcome, body } = await fetchRange(source, range);
      expect([outcome, body.equals(content.subarray(range.start, range.end))]).toEqual(["done", true]);
    }
    expect(server.requests.map((head) => /^range: (.*)$/im.exec(head)?.[1])).toEqual([
      "bytes=200-299",
      undefined,
      "bytes=999-999",
    ]);
    expect(server.requests[0]).toContain("accept-encoding: identity");
  });

  it("that the server does not know of is told, for the whole file to be fetched", async () => {
    const server = await startServer(() => ["200 OK", content]);
    expect(await fetchRange(sourceAt(server), middle)).toMatchObject({ outcome: "ignored", body: Buffer.alloc(0) });
    expect(await fetchRange(sourceAt(server), all)).toMatchObject({ outcome: "done", body: content });
  });

  const partial = (range: string, length = 100) =>
    `206 Partial Content\r\nContent-Range: ${range}\r\nContent-Length: ${length}`;
  const wrong: Record<string, string> = {
    "another place": partial("bytes 201-300/1000"),
    "another length": partial("bytes 200-298/1000"),
    "another file": partial("bytes 200-299/1001"),
    "no place": "206 Partial Content\r\nContent-Length: 100",
    "many places": "206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=x\r\nContent-Length: 100",
    "a shorter body": partial("bytes 200-299/1000", 99),
    "a longer body": partial("bytes 200-299/1000", 101),
    "a packed body": `${partial("bytes 200-299/1000")}\r\nContent-Encoding: gzip`,
    "a whole file of another size": "200 OK\r\nContent-Length: 999",
  };
  for (const [what, lines] of Object.entries(wrong)) {
    it(`is not taken from an answer with ${what}`, async () => {
      const server = await startServer(() => [lines, content.subarray(200, 300)]);
      const source = sourceAt(server);
      await expect(fetchRange(source, middle)).rejects.toMatchObject({
        code: "RESPONSE_INVALID",
        message: expect.stringContaining(`answered for ${source.name} with `),
      });
    });
  }

  it("of unknown size, or in chunks, is taken at its place", async () => {
    const body = content.subarray(200, 300);
    const chunked = Buffer.concat([Buffer.from("64\r\n"), body, Buffer.from("\r\n0\r\n\r\n")]);
    const place = "206 Partial Content\r\nContent-Range: bytes 200-299/*";
    const server = await startServer(() => [`${place}\r\nTransfer-Encoding: chunked`, chunked]);
    expect((await fetchRange(sourceAt(server), middle)).body.equals(body)).toBe(true);
  });
});

describe("a redirect", () => {
  it("is followed without the token, once for all ranges", async () => {
    const cdn = await startServer(serve);
    const hub = await startServer(() => `302 Found\r\nLocation: ${cdn.url.origin}/signed?key=1`);
    const source = sourceAt(hub);
    for (const range of [middle, { start: 0, end: 10 }, all]) {
      const { body } = await fetchRange(source, range);
      expect(body.equals(content.subarray(range.start, range.end))).toBe(true);
    }
    expect([hub.requests.length, cdn.requests.length]).toEqual([1, 3]);
    expect(hub.requests[0]).toContain("authorization: Bearer secret");
    expect(cdn.requests.join()).not.toMatch(/authorization/i);
    expect(cdn.requests[0]).toMatch(/^GET \/signed\?key=1 /);
  });

  it("to the same origin, by a relative path or in another script, keeps the token", async () => {
    const server = await startServer((path, head) => {
      if (path === "/file") return "307 Temporary Redirect\r\nLocation: /folder/模型?a=b";
      if (path.startsWith("/folder/%")) return "308 Permanent Redirect\r\nLocation: ../last";
      return serve(path, head);
    });
    expect((await fetchRange(sourceAt(server), middle)).outcome).toBe("done");
    const paths = server.requests.map((head) => head.split(" ")[1]);
    expect(paths).toEqual(["/file", "/folder/%E6%A8%A1%E5%9E%8B?a=b", "/last"]);
    expect(server.requests.filter((head) => head.includes("Bearer secret"))).toHaveLength(3);
  });

  it("with a long text is followed all the same", async () => {
    const server = await startServer((path, head) =>
      path === "/file" ? ["302 Found\r\nLocation: /last", randomBytes(200_000)] : serve(path, head),
    );
    expect((await fetchRange(sourceAt(server), middle)).outcome).toBe("done");
  });

  it("in a circle ends", async () => {
    const server = await startServer(() => "302 Found\r\nLocation: /file");
    await expect(fetchRange(sourceAt(server), middle)).rejects.toMatchObject({
      code: "RESPONSE_INVALID",
      message: expect.stringContaining("more than 5 redirects"),
    });
    expect(server.requests).toHaveLength(6);
  });

  it("to what is no web address is refused", async () => {
    for (const location of ["file:///etc/passwd", "http://", "ftp://127.0.0.1/file", "javascript:0"]) {
      const server = await startServer(() => `302 Found\r\nLocation: ${location}`);
      await expect(fetchRange(sourceAt(server), middle)).rejects.toMatchObject({ code: "RESPONSE_INVALID" });
    }
  });
});

describe("a link", () => {
  it("that has expired is asked for anew; a new one that is refused is told", async () => {
    let valid = 1;
    const cdn = await startServer((path, head) => (path === `/signed/${valid}` ? serve(path, head) : "403 Forbidden"));
    let given = 0;
    const hub = await startServer(() => `302 Found\r\nLocation: ${cdn.url.origin}/signed/${++given}`);
    const source = sourceAt(hub);
    await fetchRange(source, middle);
    valid = 2;
    expect((await fetchRange(source, middle)).outcome).toBe("done");
    expect([hub.requests.length, cdn.requests.length]).toEqual([2, 3]);
    valid = 100;
    await expect(fetchRange(source, middle)).rejects.toMatchObject({ code: "REDIRECT_EXPIRED" });
    valid = 4;
    expect((await fetchRange(source, middle)).outcome).toBe("done");
    expect(hub.requests).toHaveLength(4);
  });

  it("that is itself signed expires in the same way; one that is not is refused for good", async () => {
    const server = await startServer(() => "403 Forbidden");
    const change = { authorization: null };
    await expect(fetchRange(sourceAt(server, { ...change, signed: true }), all)).rejects.toMatchObject({
      code: "REDIRECT_EXPIRED",
    });
    await expect(fetchRange(sourceAt(server, change), all)).rejects.toMatchObject({ code: "ACCESS_REFUSED" });
  });

  it("whose answers change their ETag is not trusted, and asked for anew", async () => {
    let etag = "one";
    const cdn = await startServer((_path, head) => {
      const { start, end } = rangeOf(head);
      return [
        `206 Partial Content\r\nETag: "${etag}"\r\nContent-Range: bytes ${start}-${end - 1}/${content.length}`,
        content.subarray(start, end),
      ];
    });
    const hub = await startServer(() => `302 Found\r\nLocation: ${cdn.url.origin}/signed`);
    const source = sourceAt(hub);
    await fetchRange(source, middle);
    etag = "two";
    await expect(fetchRange(source, middle)).rejects.toMatchObject({
      code: "RESPONSE_INVALID",
      message: expect.stringContaining('ETag "one", then "two"'),
    });
    expect((await fetchRange(source, middle)).outcome).toBe("done");
    expect(hub.requests).toHaveLength(2);
  });
});

describe("a refusal", () => {
  it("is told with its status, and with the server's first words only", async () => {
    const server = await startServer(() => ["500 Internal Server Error", Buffer.alloc(300_000, "long ")]);
    await expect(fetchRange(sourceAt(server), middle)).rejects.toMatchObject({
      code: "SERVER_ERROR",
      details: { status: 500 },
    });
  });

  it("says how long to wait", async () => {
    const server = await startServer(() => "429 Too Many Requests\r\nRetry-After: 7");
    await expect(fetchRange(sourceAt(server), middle)).rejects.toMatchObject({
      code: "RATE_LIMITED",
      details: { retryAfterMs: 7_000 },
    });
  });

  it("with no body, or a range that is not satisfiable, is no range either", async () => {
    for (const lines of [
      "204 No Content",
      "416 Range Not Satisfiable\r\nContent-Range: bytes */1000",
      "304 Not Modified",
    ]) {
      const server = await startServer(() => lines);
      await expect(fetchRange(sourceAt(server), middle)).rejects.toMatchObject({ code: "RESPONSE_INVALID" });
    }
  });
});
