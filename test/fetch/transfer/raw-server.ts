import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { createServer as createTlsServer, type TlsOptions } from "node:tls";
import { onTestFinished } from "vitest";

export interface RawServer {
  url: URL;
  /** Of all connections so far. */
  sockets: Socket[];
  /** The heads of all requests so far. */
  requests: string[];
}

/** One connection as the server sees it. */
export interface RawClient {
  socket: Socket;
  /** The head of the next request; never, when the client leaves. */
  request(): Promise<string>;
  /** Sends these pieces in turns of their own, as far as the system keeps them apart. */
  send(...pieces: (string | Uint8Array)[]): Promise<void>;
}

interface RawServerOptions {
  host?: string;
  tls?: TlsOptions;
}

/** A server that says what the test makes it say, byte by byte. `serve` begins with each connection. */
export async function startRawServer(
  serve: (client: RawClient, nth: number) => unknown,
  { host = "127.0.0.1", tls }: RawServerOptions = {},
): Promise<RawServer> {
  const sockets: Socket[] = [];
  const requests: string[] = [];
  const greet = (socket: Socket) => {
    sockets.push(socket);
    serve(clientOf(socket, requests), sockets.length);
  };
  const server = tls ? createTlsServer(tls, greet) : createServer({ noDelay: true }, greet);
  server.listen(0, host);
  await once(server, "listening");
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const url = new URL(`${tls ? "https" : "http"}://${host.includes(":") ? `[${host}]` : host}:${port}/file?query=1`);
  return { url, sockets, requests };
}

function clientOf(socket: Socket, requests: string[]): RawClient {
  const unread: string[] = [];
  const waiters: ((head: string) => void)[] = [];
  let text = "";
  socket.on("error", () => undefined);
  socket.setEncoding("latin1").on("data", (more: string) => {
    const heads = (text + more).split("\r\n\r\n");
    text = heads.pop() ?? "";
    for (const head of heads) {
      requests.push(head);
      const waiter = waiters.shift();
      if (waiter) waiter(head);
      else unread.push(head);
    }
  });
  return {
    socket,
    request: async () => unread.shift() ?? new Promise((resolve) => waiters.push(resolve)),
    async send(...pieces) {
      for (const piece of pieces) {
        if (socket.destroyed) return;
        await new Promise((sent) => socket.write(piece, sent));
        await new Promise(setImmediate);
      }
    },
  };
}
