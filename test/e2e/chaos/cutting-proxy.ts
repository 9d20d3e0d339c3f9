import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** A TCP proxy on the way to the coordinator that cuts connections, or lets them hang. */
export interface CuttingProxy extends AsyncDisposable {
  port: number;
  cut(): void;
  /** Nothing passes until `flow`; nobody is told. */
  stall(): void;
  flow(): void;
}

export async function startCuttingProxy(port: () => number): Promise<CuttingProxy> {
  const pairs = new Set<[Socket, Socket]>();
  let isStalled = false;
  const server = createServer((client) => {
    const upstream = connect(port(), "127.0.0.1");
    const pair: [Socket, Socket] = [client, upstream];
    pairs.add(pair);
    for (const [from, to] of [pair, [upstream, client] as const]) {
      from
        .on("error", () => undefined)
        .on("close", () => {
          to.destroy();
          pairs.delete(pair);
        });
      from.on("data", (bytes) => {
        if (!to.write(bytes)) from.pause();
      });
      to.on("drain", () => {
        if (!isStalled) from.resume();
      });
      if (isStalled) from.pause();
    }
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const each = (act: (socket: Socket) => void) => {
    for (const pair of pairs) for (const socket of pair) act(socket);
  };
  return {
    port: (server.address() as AddressInfo).port,
    cut: () => each((socket) => socket.destroy()),
    stall() {
      isStalled = true;
      each((socket) => socket.pause());
    },
    flow() {
      isStalled = false;
      each((socket) => socket.resume());
    },
    async [Symbol.asyncDispose]() {
      each((socket) => socket.destroy());
      server.close();
      await once(server, "close");
    },
  };
}
