import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { setTimeout as later } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it } from "vitest";
import type { ErrorData } from "../../../src/errors.ts";
import { type Authority, hasOpenssl, makeAuthority } from "../../authority.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";
import { type RawClient, type RawServer, startRawServer } from "./raw-server.ts";

const answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const hello = { status: 200, text: "hello" };

async function sayHello({ request, send }: RawClient): Promise<void> {
  await request();
  await send(answer);
}

/** A proxy that makes the tunnels it is asked for. */
function startProxy(options: Parameters<typeof startRawServer>[1] = {}): Promise<RawServer> {
  return startRawServer(async ({ request, socket }) => {
    const [, host = "", port] = /^CONNECT \[?([^ ]*?)\]?:(\d+) /.exec(await request()) ?? [];
    const tunnel = connect(Number(port), host, () => {
      socket.setEncoding("latin1").removeAllListeners("data");
      socket.write("HTTP/1.1 200 Connection established\r\nX-Proxy: 1\r\n\r\n");
      // Set to text above; pipes want bytes.
      socket.on("data", (text) => void tunnel.write(String(text), "latin1"));
      tunnel.pipe(socket);
    });
    tunnel.on("error", () => socket.destroy()).on("close", () => socket.destroy());
    socket.on("close", () => tunnel.destroy());
  }, options);
}

/** What a process of its own gets from there, that finds this in its environment. */
async function get(url: URL, env: Record<string, string> = {}, stallTimeoutMs = 10_000) {
  const fixture = fileURLToPath(new URL("./fixtures/get-process.ts", import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [fixture, url.href, `${stallTimeoutMs}`], {
    env: { PATH: process.env.PATH, ...env },
  });
  return JSON.parse(stdout) as { status?: number; text?: string; error?: ErrorData };
}

const proxyUrl = ({ url }: RawServer, credentials = "") => `${url.protocol}//${credentials}${url.host}`;

describe("a connection", () => {
  it("is made by IPv6 where the address is one", async ({ skip }) => {
    const hasIpv6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === "::1"));
    if (!hasIpv6) skip("there is no IPv6 on this machine");
    const server = await startRawServer(sayHello, { host: "::1" });
    expect(await get(server.url)).toEqual(hello);
    expect(server.requests[0]).toContain(`host: [::1]:${server.url.port}`);
  });

  it("that is refused names the host", async () => {
    const server = await startRawServer(() => undefined);
    const url = new URL(server.url);
    url.port = "1";
    expect(await get(url)).toMatchObject({
      error: { code: "HOST_UNREACHABLE", message: expect.stringContaining("127.0.0.1:1") },
    });
  });
});

describe("a proxy", () => {
  it("is asked by the whole address, and told who asks", async () => {
    const proxy = await startRawServer(sayHello);
    const url = new URL("http://models.example/some/file?a=b");
    expect(await get(url, { HTTP_PROXY: proxyUrl(proxy, "us%40er:pass%3Aword@") })).toEqual(hello);
    const [line, ...headers] = proxy.requests[0]!.split("\r\n");
    expect(line).toBe("GET http://models.example/some/file?a=b HTTP/1.1");
    const credentials = Buffer.from("us@er:pass:word").toString("base64");
    expect(headers).toEqual(
      expect.arrayContaining(["host: models.example", `proxy-authorization: Basic ${credentials}`]),
    );
  });

  it("is left alone for the hosts of NO_PROXY", async () => {
    const proxy = await startRawServer(sayHello);
    const server = await startRawServer(sayHello);
    for (const NO_PROXY of ["127.0.0.1", "*", `other.example, 127.0.0.1:${server.url.port}`]) {
      expect(await get(server.url, { HTTP_PROXY: proxyUrl(proxy), NO_PROXY })).toEqual(hello);
    }
    expect([proxy.sockets.length, server.requests.length]).toEqual([0, 3]);
    expect(server.requests[0]).toMatch(/^GET \/file\?query=1 /);
    expect(await get(server.url, { HTTP_PROXY: proxyUrl(proxy), NO_PROXY: "other.example" })).toEqual(hello);
    expect(proxy.sockets).toHaveLength(1);
  });

  it("that refuses is named, with what it said", async () => {
    const proxy = await startRawServer(async ({ request, send, socket }) => {
      await request();
      await send("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
      socket.end();
    });
    const { error } = await get(new URL("https://models.example/"), { HTTPS_PROXY: proxyUrl(proxy, "user:wrong@") });
    expect(error).toMatchObject({ code: "HOST_UNREACHABLE", hint: expect.stringContaining("HTTPS_PROXY") });
    expect(error!.message).toBe(`The proxy ${proxy.url.host} refuses to connect to models.example:443 (407).`);
    expect(proxy.requests[0]).toMatch(/^CONNECT models\.example:443 HTTP/);
    expect(proxy.requests[0]).toContain(`Basic ${Buffer.from("user:wrong").toString("base64")}`);
  });

  it("that is not there, says nothing, or is no proxy is told", async () => {
    const url = new URL("https://models.example/");
    expect(await get(url, { HTTPS_PROXY: "http://127.0.0.1:1" })).toMatchObject({
      error: { code: "HOST_UNREACHABLE" },
    });
    const silent = await startRawServer(() => undefined);
    expect(await get(url, { HTTPS_PROXY: proxyUrl(silent) }, 200)).toMatchObject({ error: { code: "STALLED" } });
    const other = await startRawServer(({ send }) => send("220 mail.example.org ESMTP\r\n"));
    expect(await get(url, { HTTPS_PROXY: proxyUrl(other) })).toMatchObject({ error: { code: "HOST_UNREACHABLE" } });
    const broken = await get(url, { HTTPS_PROXY: "http://" });
    expect(broken).toMatchObject({ error: { code: "HOST_UNREACHABLE" } });
  });
});

describe.skipIf(!hasOpenssl)("a secure connection", () => {
  let authority: Authority;
  beforeAll(async () => {
    authority = await makeAuthority("IP:127.0.0.1,DNS:localhost");
  });

  function trusted(): Record<string, string> {
    const path = join(temporaryFolder(), "ca.pem");
    writeFileSync(path, authority.ca);
    return { NODE_EXTRA_CA_CERTS: path };
  }

  const startSecure = (serve: (client: RawClient) => unknown = sayHello) =>
    startRawServer(serve, { tls: { cert: authority.cert, key: authority.key } });

  it("is refused where nobody vouches for the server, with what to set", async () => {
    const server = await startSecure();
    expect(await get(server.url)).toMatchObject({
      error: {
        code: "TLS_FAILED",
        message: expect.stringContaining(server.url.host),
        hint: expect.stringContaining("NODE_EXTRA_CA_CERTS"),
      },
    });
    expect(server.requests).toEqual([]);
  });

  it("is refused where the certificate is another's", async () => {
    const server = await startSecure();
    const url = new URL(server.url);
    url.hostname = "127.0.0.2";
    const { error } = await get(url, trusted());
    expect(["TLS_FAILED", "HOST_UNREACHABLE"]).toContain(error?.code);
    expect(server.requests).toEqual([]);
  });

  it("is made where NODE_EXTRA_CA_CERTS vouches for the server, by name or address", async () => {
    const server = await startSecure();
    const byName = new URL(server.url);
    byName.hostname = "localhost";
    expect(await get(server.url, trusted())).toEqual(hello);
    expect(await get(byName, trusted())).toEqual(hello);
  });

  it("to what speaks no TLS is told as that", async () => {
    const server = await startRawServer(({ send }) => send("HTTP/1.1 400 Bad Request\r\n\r\n"));
    expect(await get(new URL(`https://${server.url.host}/`))).toMatchObject({ error: { code: "TLS_FAILED" } });
  });

  it("goes through the tunnel of a proxy, plain or secure itself, with all that comes", async () => {
    const text = "0123456789".repeat(90_000);
    const server = await startSecure(async ({ request, send }) => {
      await request();
      await send(`HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`);
    });
    for (const proxy of [await startProxy(), await startProxy({ tls: { cert: authority.cert, key: authority.key } })]) {
      expect(await get(server.url, { HTTPS_PROXY: proxyUrl(proxy), ...trusted() })).toEqual({ status: 200, text });
      expect(proxy.requests.map((head) => head.split("\r\n")[0])).toEqual([`CONNECT ${server.url.host} HTTP/1.1`]);
    }
  });

  it("to a proxy carries what is asked of plain servers", async () => {
    const proxy = await startRawServer(sayHello, { tls: { cert: authority.cert, key: authority.key } });
    expect(await get(new URL("http://models.example/"), { HTTP_PROXY: proxyUrl(proxy), ...trusted() })).toEqual(hello);
    expect(proxy.requests[0]).toMatch(/^GET http:\/\/models\.example\/ HTTP/);
  });

  it("through a tunnel outlives the time that it had to be made in", async () => {
    const server = await startSecure(async ({ request, send }) => {
      await request();
      await send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
      for (const letter of "hello") {
        await later(100);
        await send(letter);
      }
    });
    const proxy = await startProxy();
    expect(await get(server.url, { HTTPS_PROXY: proxyUrl(proxy), ...trusted() }, 300)).toEqual(hello);
  });

  it("whose tunnel breaks is told as a connection that ended", async () => {
    const { promise: asked, resolve } = Promise.withResolvers<void>();
    const server = await startSecure(async ({ request }) => {
      await request();
      resolve();
    });
    const proxy = await startProxy();
    void asked.then(() => proxy.sockets[0]!.resetAndDestroy());
    expect(await get(server.url, { HTTPS_PROXY: proxyUrl(proxy), ...trusted() })).toMatchObject({
      error: { code: "HOST_UNREACHABLE", message: expect.stringContaining(server.url.host) },
    });
  });
});
