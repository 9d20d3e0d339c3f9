import { once } from "node:events";
import type { ServerResponse } from "node:http";

export interface EventStreamOptions {
  keepAliveMs: number;
  /** Of the answer, as they are when it begins. */
  headers: () => Record<string, string>;
  /** What a sign of life says. */
  idle: () => string;
}

/**
 * Server-sent events, from the first one on, or the first sign of life: before that the answer may still be another.
 */
export interface EventStream {
  readonly begun: boolean;
  /** Resolves when there is room for more, or the client has gone. */
  send(data: unknown, event?: { name?: string; id?: string }): Promise<void>;
  end(): void;
  /** No more signs of life. */
  stop(): void;
}

export function openEventStream(response: ServerResponse, options: EventStreamOptions): EventStream {
  const begin = () => {
    if (response.headersSent) return;
    response.writeHead(200, {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-store",
      // Proxies that collect answers would hold it back.
      "x-accel-buffering": "no",
      ...options.headers(),
    });
    response.flushHeaders();
  };
  const write = async (text: string) => {
    if (response.destroyed) return;
    begin();
    if (response.write(text)) return;
    const gone = new AbortController();
    const { signal } = gone;
    await Promise.race([once(response, "drain", { signal }), once(response, "close", { signal })]).catch(
      () => undefined,
    );
    gone.abort();
  };
  const timer = setInterval(() => {
    // Who has not read what was sent needs no sign.
    if (!response.writableNeedDrain) void write(`: ${options.idle()}\n\n`);
  }, options.keepAliveMs);
  const stop = () => clearInterval(timer);
  response.once("close", stop);
  return {
    get begun() {
      return response.headersSent;
    },
    send(data, { name, id } = {}) {
      timer.refresh();
      const head = `${id === undefined ? "" : `id: ${id}\n`}${name === undefined ? "" : `event: ${name}\n`}`;
      return write(`${head}data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`);
    },
    end() {
      stop();
      response.end();
    },
    stop,
  };
}
