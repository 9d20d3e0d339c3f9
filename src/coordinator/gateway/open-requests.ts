import type { IncomingMessage, ServerResponse } from "node:http";
import type { AnsweredRequest } from "../metrics/counters.ts";

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/** Requests that are under way, until they are answered or their clients have gone. */
export class OpenRequests {
  readonly #responses = new Set<ServerResponse>();
  readonly #closed: (request: AnsweredRequest) => void;

  constructor(closed: (request: AnsweredRequest) => void) {
    this.#closed = closed;
  }

  /** `route`: of the table of routes, asked for at the end; null where there is none. */
  add({ method = "" }: IncomingMessage, response: ServerResponse, route: () => string | null): void {
    const begun = performance.now();
    this.#responses.add(response);
    response.once("close", () => {
      this.#responses.delete(response);
      this.#closed({
        method: METHODS.includes(method) ? method : "other",
        route: route() ?? "none",
        // As proxies write it down where the client has gone before an answer.
        status: response.headersSent ? response.statusCode : 499,
        seconds: (performance.now() - begun) / 1000,
      });
    });
  }

  /** How many of them are answered by server-sent events. */
  streams(): number {
    const all = [...this.#responses];
    return all.filter((response) => String(response.getHeader("content-type")).startsWith("text/event-stream")).length;
  }
}
