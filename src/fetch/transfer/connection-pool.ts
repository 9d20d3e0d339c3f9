import { MusterError } from "../../errors.ts";
import { type ConnectionOptions, HttpConnection, type ResponseSink } from "./http-connection.ts";

/** Connections that wait for their next request, by origin. */
export class ConnectionPool {
  readonly #idle = new Map<string, HttpConnection[]>();
  readonly #options: ConnectionOptions;

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  /** One request. A connection that the server had closed meanwhile is replaced by a new one, once. */
  async get(url: URL, headers: Record<string, string>, sink: ResponseSink, signal: AbortSignal): Promise<void> {
    for (;;) {
      const idle = this.#take(url.origin);
      const connection = idle ?? (await HttpConnection.open(url, this.#options, signal));
      let begun = false;
      const watched: ResponseSink = {
        onHead(head) {
          begun = true;
          sink.onHead(head);
        },
        onBody: (slot, bytes) => sink.onBody(slot, bytes),
        flush: () => sink.flush(),
      };
      try {
        await connection.get(url, headers, watched, signal);
        if (connection.reusable) this.#give(url.origin, connection);
        return;
      } catch (error) {
        connection.destroy();
        const hungUp = error instanceof MusterError && error.code === "HOST_UNREACHABLE";
        if (!idle || begun || !hungUp || signal.aborted) throw error;
      }
    }
  }

  #take(origin: string): HttpConnection | null {
    const idle = this.#idle.get(origin) ?? [];
    for (let connection = idle.pop(); connection; connection = idle.pop()) {
      if (connection.reusable) return connection;
    }
    return null;
  }

  #give(origin: string, connection: HttpConnection): void {
    const idle = this.#idle.get(origin) ?? [];
    idle.push(connection);
    this.#idle.set(origin, idle);
  }
}
