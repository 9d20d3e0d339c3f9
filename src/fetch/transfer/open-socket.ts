import { connect as connectTcp, isIP, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import { getProxyForUrl } from "proxy-from-env";
import { nodeHttp, nodeHttps } from "../../node-http.ts";
import { proxyRefused } from "../http-errors.ts";

/** Where bytes are received: `buffer` gives the place for the next read, `callback` says how many came; false pauses. */
export interface Receiver {
  buffer(): Uint8Array;
  callback(count: number, buffer: Uint8Array): boolean;
}

export interface OpenedSocket {
  socket: Socket;
  /** What a plain-HTTP proxy wants before the path, and to know of the caller. */
  prefix: string;
  headers: Record<string, string>;
}

/** TLS sessions by origin: a connection after the first spares most of the handshake. */
const sessions = new Map<string, Buffer>();

/**
 * Connects to the URL's origin, by the proxy that the environment names for it (HTTP_PROXY, HTTPS_PROXY, NO_PROXY).
 * Reads go straight to the receiver's memory. Rejects with the socket's error.
 */
export async function openSocket(url: URL, receiver: Receiver, signal: AbortSignal): Promise<OpenedSocket> {
  const proxyUrl = getProxyForUrl(url.href);
  const proxy = proxyUrl ? new URL(proxyUrl) : null;
  if (url.protocol === "https:") {
    if (!proxy) return opened(secure(url, { ...addressOf(url), onread: receiver }), "secureConnect", signal);
    const socket = secure(url, { socket: await openTunnel(proxy, url, signal) });
    pour(socket, receiver);
    return opened(socket, "secureConnect", signal);
  }
  if (!proxy) return opened(connectTcp({ ...addressOf(url), onread: receiver }), "connect", signal);
  const to = { ...addressOf(proxy), onread: receiver };
  const isSecure = proxy.protocol === "https:";
  return {
    ...(await opened(isSecure ? secure(proxy, to) : connectTcp(to), isSecure ? "secureConnect" : "connect", signal)),
    prefix: url.origin,
    headers: credentials(proxy),
  };
}

/** Within a tunnel Node has no `onread`: what was read is copied. */
function pour(socket: Socket, receiver: Receiver): void {
  socket.on("data", (bytes: Buffer) => {
    for (let rest = bytes; rest.length > 0 && !socket.destroyed; ) {
      const place = receiver.buffer();
      const count = Math.min(place.length, rest.length);
      place.set(rest.subarray(0, count));
      if (!receiver.callback(count, place)) socket.pause();
      rest = rest.subarray(count);
    }
  });
}

function secure(url: URL, options: ConnectionOptions & { onread?: Receiver }): Socket {
  const { host } = addressOf(url);
  const socket = connectTls({
    ...options,
    ...(isIP(host) ? {} : { servername: host }),
    ALPNProtocols: ["http/1.1"],
    session: sessions.get(url.host),
  });
  socket.on("session", (session) => void sessions.set(url.host, session));
  return socket;
}

function opened(socket: Socket, event: "connect" | "secureConnect", signal: AbortSignal): Promise<OpenedSocket> {
  return new Promise((resolve, reject) => {
    const abort = () => socket.destroy(signal.reason as Error);
    const settle = (then: () => void) => () => {
      signal.removeEventListener("abort", abort);
      // Its errors stay listened to: one that nobody hears would end the thread.
      socket.off("close", closed).off(event, connected);
      then();
    };
    const connected = settle(() => resolve({ socket, prefix: "", headers: {} }));
    let error: Error | undefined;
    const fail = (cause: Error) => {
      error = cause;
    };
    const closed = settle(() => reject(error ?? new Error("the connection was closed before it was ready")));
    socket.on("error", fail).on("close", closed).on(event, connected);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
}

/** A connection to the URL's host through the proxy. */
function openTunnel(proxy: URL, url: URL, signal: AbortSignal): Promise<Socket> {
  const target = `${url.hostname}:${url.port || 443}`;
  return new Promise((resolve, reject) => {
    const request = (proxy.protocol === "https:" ? nodeHttps() : nodeHttp()).request({
      ...addressOf(proxy),
      method: "CONNECT",
      path: target,
      headers: { host: target, ...credentials(proxy) },
      agent: false,
      signal,
    });
    request.on("error", reject).on("connect", ({ statusCode = 0 }, socket) => {
      socket.on("error", () => undefined);
      if (statusCode >= 200 && statusCode < 300) return resolve(socket as Socket);
      socket.destroy();
      reject(proxyRefused(proxy.host, target, statusCode));
    });
    request.end();
  });
}

function addressOf(url: URL): { host: string; port: number } {
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: Number(url.port || (url.protocol === "https:" ? 443 : 80)),
  };
}

function credentials({ username, password }: URL): Record<string, string> {
  if (!username) return {};
  const text = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { "proxy-authorization": `Basic ${Buffer.from(text).toString("base64")}` };
}
