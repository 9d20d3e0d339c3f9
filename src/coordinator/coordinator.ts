import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type ServerOptions, WebSocketServer } from "ws";
import { hasSystemCode, MusterError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { nodeHttp, nodeHttps } from "../node-http.ts";
import { CLOSE, type CoordinatorPayload, PROTOCOL_DEFAULTS, SUBPROTOCOL } from "../protocol.ts";
import { handleRequest } from "./http-api.ts";
import { Dispatcher } from "./jobs/dispatcher.ts";
import { ModelRequests } from "./model-requests.ts";
import { refuseUpgrade } from "./refuse-upgrade.ts";
import type { JobStore } from "./stores/job-store.ts";
import { openMemoryStore } from "./stores/memory.ts";
import { createWorkerRegistry } from "./worker-registry.ts";
import { serveWorker, type Terms } from "./worker-session.ts";
import type { WorkerView } from "./worker-view.ts";

export type { WorkerView } from "./worker-view.ts";

export interface CoordinatorOptions extends Partial<Terms> {
  host: string;
  /** 0 takes any free one. */
  port: number;
  /** What workers show; null lets any in, on loopback only. */
  workerToken: string | null;
  /** What callers of the HTTP API show; null likewise. */
  clientToken: string | null;
  log: Logger;
  /** Where jobs are kept; in memory where not given. Closed with the coordinator. */
  store?: JobStore;
  /** PEM; serves https and wss. */
  tls?: { cert: string | Buffer; key: string | Buffer };
}

export interface Coordinator extends AsyncDisposable {
  /** Of the HTTP API. */
  url: string;
  /** What workers take for COORDINATOR_URL. */
  wsUrl: string;
  port: number;
  workers(): WorkerView[];
  jobs: Pick<Dispatcher, "submit" | "get" | "cancel">;
  /** False where the worker is not connected. */
  send(workerId: string, payload: CoordinatorPayload): boolean;
  /** Sends the workers away with 1012, so that they come back once it runs again. */
  close(): Promise<void>;
}

/** What an offer has beside the input. */
const OFFER_BYTES = 4096;
/** How long a worker gets to answer a close frame. */
const CLOSE_TIMEOUT_MS = 1_000;

/** The reference coordinator: one process; workers in memory, jobs in its store. */
export async function startCoordinator(options: CoordinatorOptions): Promise<Coordinator> {
  const { host, log, tls, workerToken, clientToken } = options;
  requireTokens(options);
  const terms: Terms = { ...PROTOCOL_DEFAULTS, ...defined(options) };
  const registry = createWorkerRegistry({ ...terms, log });
  const dispatcher = new Dispatcher({ ...terms, store: options.store ?? openMemoryStore(), workers: registry, log });
  const models = new ModelRequests({ workers: registry, log });
  // The types lag behind: ws itself destroys a socket whose close frame stays unanswered this long.
  const settings: ServerOptions & { closeTimeout: number } = {
    noServer: true,
    perMessageDeflate: false,
    maxPayload: terms.maxFrame,
    closeTimeout: CLOSE_TIMEOUT_MS,
    handleProtocols: () => SUBPROTOCOL,
  };
  const sockets = new WebSocketServer(settings);
  const api = { registry, dispatcher, models, clientToken, maxBody: Math.max(0, terms.maxFrame - OFFER_BYTES) };
  const server = tls ? nodeHttps().createServer(tls) : nodeHttp().createServer();
  server.on("request", (request, response) => handleRequest(request, response, api));
  server.on("upgrade", (request, socket, head) => {
    socket.on("error", (error) => log.debug({ reason: error.message }, "A connection broke"));
    if (refuseUpgrade(request, socket, workerToken)) return;
    sockets.handleUpgrade(request, socket, head, (opened) => serveWorker(opened, { registry, dispatcher, terms, log }));
  });
  const port = await listen(server, options);
  const sweep = () => {
    registry.sweep();
    dispatcher.sweep();
    models.sweep();
  };
  const sweeper = setInterval(sweep, Math.min(1_000, terms.leaseMs / 4));

  const shut = async () => {
    clearInterval(sweeper);
    const gone = once(server, "close");
    server.close();
    for (const socket of sockets.clients) socket.close(CLOSE.serviceRestart, "the coordinator stops");
    server.closeAllConnections();
    await gone;
    dispatcher.close();
  };
  let closing: Promise<void> | null = null;
  const close = () => {
    closing ??= shut();
    return closing;
  };
  const authority = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  const url = `${tls ? "https" : "http"}://${authority}`;
  log.debug({ url }, "The coordinator listens");
  return {
    url,
    wsUrl: url.replace(/^http/, "ws"),
    port,
    workers: () => registry.list(),
    jobs: dispatcher,
    send: (workerId, payload) => registry.send(workerId, payload),
    close,
    [Symbol.asyncDispose]: close,
  };
}

function requireTokens({ host, workerToken, clientToken }: CoordinatorOptions): void {
  const isLoopback = /^(localhost|127(\.\d{1,3}){3}|::1)$/i.test(host);
  if (isLoopback || (workerToken !== null && clientToken !== null)) return;
  const missing = [workerToken === null ? "workers" : null, clientToken === null ? "the HTTP API" : null];
  throw new MusterError(
    "CONFIG_INVALID",
    `The coordinator would listen on ${host} without a token for ${missing.filter(Boolean).join(" and ")}.`,
    { hint: "Give both tokens (`openssl rand -hex 32` makes one), or listen on 127.0.0.1." },
  );
}

/** Options that were given as undefined must not hide the defaults. */
function defined(options: Partial<Terms>): Partial<Terms> {
  const { beatMs, leaseMs, graceMs, maxFrame, helloTimeoutMs } = options;
  const given = Object.entries({ beatMs, leaseMs, graceMs, maxFrame, helloTimeoutMs });
  return Object.fromEntries(given.filter(([, value]) => value !== undefined));
}

async function listen(server: Server, { host, port }: CoordinatorOptions): Promise<number> {
  try {
    server.listen(port, host);
    await once(server, "listening");
  } catch (cause) {
    if (!hasSystemCode(cause, "EADDRINUSE")) throw cause;
    throw new MusterError("PORT_IN_USE", `Port ${port} on ${host} is taken.`, {
      hint: "Choose another port, or stop the program that listens there.",
      cause,
    });
  }
  return (server.address() as AddressInfo).port;
}
