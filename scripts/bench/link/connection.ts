import { connect, type Socket } from "node:net";
import { BufferPool } from "./buffer-pool.ts";
import { DelayLine } from "./delay-line.ts";
import type { CongestionWindow } from "./window.ts";

export interface ConnectionOptions {
  /** Port of the server, on loopback. */
  port: number;
  oneWayMs: number;
  window: CongestionWindow;
}

/** One connection through the link. `tick` moves it on; `closed` says that it is over. */
export class Connection {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #line: DelayLine;
  readonly #requests: { chunk: Buffer | null; dueAt: number }[] = [];
  closed = false;

  constructor(client: Socket, { port, oneWayMs, window }: ConnectionOptions) {
    this.#client = client;
    this.#line = new DelayLine(client, window, oneWayMs);
    this.#server = connect({
      port,
      host: "127.0.0.1",
      allowHalfOpen: true,
      noDelay: true,
      onread: {
        buffer: BufferPool.take,
        callback: (length, buffer) => {
          this.#line.push(buffer as Buffer, length);
          return this.#line.wantsMore;
        },
      },
    });
    // The client is connected to this process at once; over the link that takes a round trip.
    const establishedAt = performance.now() + 2 * oneWayMs;
    const send = (chunk: Buffer | null) =>
      this.#requests.push({ chunk, dueAt: Math.max(performance.now(), establishedAt) + oneWayMs });
    client.setNoDelay(true);
    client.on("data", send).on("end", () => send(null));
    this.#server.on("end", () => this.#line.end());
    for (const socket of [client, this.#server])
      socket.on("error", () => this.#close()).on("close", () => this.#ended());
  }

  tick(now: number): void {
    for (let first = this.#requests[0]; first && first.dueAt <= now; first = this.#requests[0]) {
      this.#requests.shift();
      if (first.chunk) this.#server.write(first.chunk);
      else this.#server.end();
    }
    this.#line.tick(now);
    if (this.#line.wantsMore) this.#server.resume();
  }

  /** A client that is gone needs no server; a server that has closed may still have bytes on the way. */
  #ended(): void {
    if (this.#client.destroyed) this.#close();
  }

  #close(): void {
    this.closed = true;
    this.#client.destroy();
    this.#server.destroy();
  }
}
