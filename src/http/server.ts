import type { Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { hasSystemCode, MusterError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { nodeHttp } from "../node-http.ts";
import { redactData } from "../redact.ts";
import type { StatusBoard } from "../status.ts";
import { readiness } from "./readiness.ts";

const USUAL_PORT = 9180;

export interface HttpServer {
  port: number;
  close(): Promise<void>;
}

export interface HttpOptions {
  /** null: the usual port, or any free one where that is taken. */
  port: number | null;
  host: string | null;
  board: StatusBoard;
  log: Logger;
}

/** /livez, /readyz, /status and /metrics of the agent. Throws PORT_IN_USE for a port that was asked for by number. */
export async function startHttp({ port, host, board, log }: HttpOptions): Promise<HttpServer> {
  const metrics = import("./metrics.ts").then(({ createMetrics }) => createMetrics(board));
  const server = nodeHttp().createServer((request, response) => {
    const path = (request.url ?? "/").split("?")[0];
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("allow", "GET, HEAD");
      return send(response, 405, { error: "only GET and HEAD" });
    }
    // Liveness is local: this answer shows that the main loop turns.
    if (path === "/livez") return send(response, 200, { live: true });
    if (path === "/readyz") {
      const { ready, reasons } = readiness(board.current, Date.now());
      return send(response, ready ? 200 : 503, { ready, reasons });
    }
    if (path === "/status") return send(response, 200, board.current);
    if (path === "/metrics") {
      metrics
        .then(async (registry) => {
          response.setHeader("content-type", registry.contentType);
          response.end(await registry.metrics());
        })
        .catch((error: unknown) => send(response, 500, { error: String(error) }));
      return;
    }
    send(response, 404, { error: "not found", paths: ["/livez", "/readyz", "/status", "/metrics"] });
  });
  try {
    await listen(server, port ?? USUAL_PORT, host);
  } catch (error) {
    if (!hasSystemCode(error, "EADDRINUSE", "EACCES") || port !== null)
      throw portError(error, port ?? USUAL_PORT, host);
    await listen(server, 0, host);
    log.warn(
      `Port ${USUAL_PORT} is taken; serving status on port ${(server.address() as AddressInfo).port} (set HTTP_PORT to choose)`,
    );
  }
  // Probes come and go; an open keep-alive connection of theirs must not hold up the exit.
  server.unref();
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.statusCode = status;
  response.setHeader("content-type", "application/json");
  response.end(`${JSON.stringify(redactData(body), null, 2)}\n`);
}

function listen(server: Server, port: number, host: string | null): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ port, ...(host ? { host } : {}) }, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

function portError(cause: unknown, port: number, host: string | null): MusterError {
  return new MusterError(
    "PORT_IN_USE",
    `HTTP_PORT ${port}${host ? ` of HTTP_HOST ${host}` : ""} cannot be listened on (${(cause as NodeJS.ErrnoException).code}).`,
    {
      hint: `Choose another HTTP_PORT, or 0 for any free one${host ? "; HTTP_HOST has to be an address of this machine" : ""}.`,
      cause,
    },
  );
}
