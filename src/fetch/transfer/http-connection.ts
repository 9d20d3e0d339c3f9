import type { Socket } from "node:net";
import { HTTPParser } from "http-parser-js";
import { networkError, notHttp, stalled } from "../http-errors.ts";
import { openSocket } from "./open-socket.ts";
import { ResponseParser } from "./response-parser.ts";
import { SLOT_BYTES, type Slot, type SlotPool } from "./slots.ts";

export interface ResponseHead {
  status: number;
  header(name: string): string | null;
}

/** What becomes of an answer. What a method throws ends the connection, and rejects the request. */
export interface ResponseSink {
  onHead(head: ResponseHead): void;
  /** `bytes` lie in the slot. A promise makes the connection read nothing until it is settled. */
  onBody(slot: Slot, bytes: Buffer): Promise<void> | null;
  /** Nothing more comes for now: the slot is full, or the answer has ended. */
  flush(): Promise<void> | null;
}

export interface ConnectionOptions {
  slots: SlotPool;
  stallTimeoutMs: number;
  userAgent: string;
}

interface Exchange {
  sink: ResponseSink;
  resolve: () => void;
  reject: (error: unknown) => void;
}

const CONNECT_TIMEOUT_MS = 15_000;
/** A slot with less room is done with. A record of TLS fits. */
const LEAST_ROOM = 32 << 10;

/**
 * A keep-alive connection, one request at a time, GET only. The socket reads into shared slots with no copy and no
 * stream in between, at a third of the cost of fetch; what HTTP is on the wire is the parser library's affair.
 */
export class HttpConnection {
  readonly #options: ConnectionOptions;
  readonly #url: URL;
  readonly #parser = new ResponseParser();
  #socket!: Socket;
  #prefix = "";
  #headers: Record<string, string> = {};
  #slot: Slot;
  #readAt = 0;
  #fill = 0;
  #exchange: Exchange | null = null;
  #keepAlive = true;
  /** Reasons not to read. */
  #pauses = 0;

  private constructor(url: URL, options: ConnectionOptions) {
    this.#url = url;
    this.#options = options;
    this.#slot = options.slots.take();
    this.#listen();
  }

  /** Throws MusterError. */
  static async open(url: URL, options: ConnectionOptions, signal: AbortSignal): Promise<HttpConnection> {
    const connection = new HttpConnection(url, options);
    const limit = Math.min(CONNECT_TIMEOUT_MS, options.stallTimeoutMs);
    const timeout = AbortSignal.timeout(limit);
    try {
      await connection.#connect(AbortSignal.any([signal, timeout]));
      return connection;
    } catch (error) {
      connection.#slot.release();
      signal.throwIfAborted();
      if (timeout.aborted) throw stalled(url.host, `no connection within ${limit / 1000} s`);
      throw networkError(error, url.href);
    }
  }

  get reusable(): boolean {
    return this.#keepAlive && !this.#exchange && !this.#socket.destroyed;
  }

  /** Resolves when the answer has been taken to its end. Rejects with a MusterError, or with what the sink threw. */
  async get(url: URL, headers: Record<string, string>, sink: ResponseSink, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const abort = () => this.#fail(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    try {
      await new Promise<void>((resolve, reject) => {
        this.#exchange = { sink, resolve, reject };
        this.#socket.setTimeout(this.#options.stallTimeoutMs);
        this.#socket.write(this.#requestText(url, headers));
      });
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  destroy(): void {
    this.#socket.destroy();
  }

  async #connect(signal: AbortSignal): Promise<void> {
    const receiver = { buffer: () => this.#nextBuffer(), callback: (count: number) => this.#onRead(count) };
    const { socket, prefix, headers } = await openSocket(this.#url, receiver, signal);
    if (!this.#keepAlive) socket.destroy(new Error("it spoke before it was asked"));
    if (socket.destroyed) throw socket.errored ?? new Error("it closed the connection at once");
    this.#socket = socket;
    this.#prefix = prefix;
    this.#headers = headers;
    socket
      .on("error", (error) => this.#fail(networkError(error, this.#url.href)))
      .on("timeout", () => this.#onTimeout())
      .on("end", () => this.#onEnd())
      .on("close", () => {
        this.#onEnd();
        this.#slot.release();
      });
  }

  #requestText(url: URL, headers: Record<string, string>): string {
    const all = { host: url.host, "user-agent": this.#options.userAgent, ...headers, ...this.#headers };
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`);
    return `GET ${this.#prefix}${url.pathname}${url.search} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`;
  }

  #listen(): void {
    let informational = false;
    this.#parser[HTTPParser.kOnHeadersComplete] = ({ statusCode, headers, shouldKeepAlive }) => {
      informational = statusCode < 200;
      if (informational || !this.#exchange) return;
      this.#keepAlive = shouldKeepAlive;
      const fields = new Map<string, string>();
      for (let index = 0; index < headers.length; index += 2)
        fields.set(headers[index]!.toLowerCase(), headers[index + 1] ?? "");
      this.#exchange.sink.onHead({ status: statusCode, header: (name) => fields.get(name) ?? null });
    };
    this.#parser[HTTPParser.kOnBody] = (bytes) => {
      if (this.#exchange) this.#pauseFor(this.#exchange.sink.onBody(this.#slot, bytes));
    };
    this.#parser[HTTPParser.kOnMessageComplete] = () => {
      if (!informational) this.#complete();
    };
  }

  #nextBuffer(): Uint8Array {
    // Nobody but this connection holds what is in the slot: it can be filled again from its beginning.
    if (this.#slot.users === 1) this.#fill = 0;
    if (SLOT_BYTES - this.#fill < LEAST_ROOM) {
      this.#slot.release();
      this.#slot = this.#options.slots.take();
      this.#fill = 0;
    }
    this.#readAt = this.#fill;
    return this.#slot.bytes.subarray(this.#fill);
  }

  #onRead(count: number): boolean {
    const exchange = this.#exchange;
    if (!exchange) {
      // Nothing was asked for, perhaps not even the connection is known as made yet.
      this.#keepAlive = false;
      this.#socket?.destroy();
      return false;
    }
    try {
      const outcome = this.#parser.execute(this.#slot.bytes, this.#readAt, count);
      if (outcome instanceof Error) throw notHttp(this.#url.host, outcome);
      this.#fill = this.#readAt + count;
      if (SLOT_BYTES - this.#fill < LEAST_ROOM && this.#exchange) this.#pauseFor(exchange.sink.flush());
    } catch (error) {
      this.#fail(error);
    }
    return this.#pauses === 0;
  }

  /** Reads nothing while the sink is busy with what it has. */
  #pauseFor(busy: Promise<void> | null): void {
    if (!busy) return;
    this.#pauses += 1;
    busy.then(
      () => {
        this.#pauses -= 1;
        if (this.#pauses > 0 || this.#socket.destroyed) return;
        // The time that nothing was read is not the server's.
        this.#socket.setTimeout(this.#options.stallTimeoutMs);
        this.#socket.resume();
      },
      (error: unknown) => this.#fail(error),
    );
  }

  #complete(): void {
    const exchange = this.#exchange;
    if (!exchange) return;
    this.#exchange = null;
    // What comes after the end of an answer would be taken for the next one.
    if (this.#parser.unused > 0) this.#keepAlive = false;
    try {
      const busy = exchange.sink.flush();
      if (busy) busy.then(exchange.resolve, exchange.reject);
      else exchange.resolve();
    } catch (error) {
      this.#keepAlive = false;
      exchange.reject(error);
    }
    if (!this.#keepAlive) this.#socket.destroy();
  }

  #fail(error: unknown): void {
    const exchange = this.#exchange;
    this.#exchange = null;
    this.#keepAlive = false;
    this.#socket.destroy();
    if (!exchange) return;
    // What has come so far counts, whatever became of the rest.
    Promise.resolve()
      .then(() => exchange.sink.flush())
      .then(
        () => exchange.reject(error),
        () => exchange.reject(error),
      );
  }

  #onTimeout(): void {
    // Idle because this side does not read, or because nothing was asked for.
    if (this.#pauses > 0) return;
    if (!this.#exchange) this.#socket.destroy();
    else this.#fail(stalled(this.#url.host, "nothing for the whole of STALL_TIMEOUT"));
  }

  #onEnd(): void {
    this.#keepAlive = false;
    if (!this.#exchange) return;
    // An answer without a length ends with its connection.
    this.#parser.finish();
    if (this.#exchange) this.#fail(networkError(new Error("it closed the connection early"), this.#url.href));
  }
}
