import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { type ServerOptions, WebSocketServer } from "ws";
import { hasSystemCode, MusterError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { CLOSE, type CoordinatorPayload, PROTOCOL_DEFAULTS, SUBPROTOCOL } from "../protocol.ts";
import { handleRequest } from "./gateway/http-api.ts";
import { Dispatcher } from "./jobs/dispatcher.ts";
import type { Jobs } from "./jobs/jobs.ts";
import type { JobStore } from "./stores/job-store.ts";
import { openMemoryStore } from "./stores/memory.ts";
import { refuseUpgrade } from "./workers/refuse-upgrade.ts";
import { createWorkerRegistry } from "./workers/worker-registry.ts";
import { serveWorker, type Terms } from "./workers/worker-session.ts";
import type { WorkerView } from "./workers/worker-view.ts";

export type { WorkerView } from "./workers/worker-view.ts";

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
  /** Jobs that may wait; more are refused. */
  maxQueue?: number;
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
  jobs: Jobs;
  /** False where the worker is not connected. */
  send(workerId: string, payload: CoordinatorPayload): boolean;
  /** Sends the workers away with 1012, so that they come back once it runs again. */
  close(): Promise<void>;
}

const MAX_QUEUE = 10_000;
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
  const { store = openMemoryStore(), maxQueue = MAX_QUEUE } = options;
  const boundsOf = () => ({ concurrent: null, queued: null });
  const dispatcher = await Dispatcher.open({ ...terms, store, workers: registry, maxQueue, boundsOf, log });
  // The types lag behind: ws itself destroys a socket whose close frame stays unanswered this long.
  const settings: ServerOptions & { closeTimeout: number } = {
    noServer: true,
    perMessageDeflate: false,
    maxPayload: terms.maxFrame,
    closeTimeout: CLOSE_TIMEOUT_MS,
    handleProtocols: () => SUBPROTOCOL,
  };
  const sockets = new WebSocketServer(settings);
  const api = { registry, jobs: dispatcher, clientToken, maxBody: Math.max(0, terms.maxFrame - OFFER_BYTES) };
  const server = tls ? createTlsServer(tls) : createServer();
  server.on("request", (request, response) => handleRequest(request, response, api));
  server.on("upgrade", (request, socket, head) => {
    socket.on("error", (error) => log.debug({ reason: error.message }, "A connection broke"));
    if (refuseUpgrade(request, socket, workerToken)) return;
    sockets.handleUpgrade(request, socket, head, (opened) =>
      serveWorker(opened, { registry, jobs: dispatcher.desk, terms, log }),
    );
  });
  const port = await listen(server, options);
  const sweep = () => {
    registry.sweep();
    dispatcher.sweep();
  };
  const sweeper = setInterval(sweep, Math.min(1_000, terms.leaseMs / 4));

  const shut = async () => {
    clearInterval(sweeper);
    const gone = once(server, "close");
    server.close();
    for (const socket of sockets.clients) socket.close(CLOSE.serviceRestart, "the coordinator stops");
    server.closeAllConnections();
    await gone;
    await dispatcher.close();
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
