import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type ServerOptions, WebSocketServer } from "ws";
import { hasSystemCode, MusterError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { CLOSE, type CoordinatorPayload, PROTOCOL_DEFAULTS, SUBPROTOCOL } from "../protocol.ts";
import { VERSION } from "../system.ts";
import { inProcess, type OpenBackend, type WorkerDirectory } from "./backend.ts";
import { FleetFeed } from "./dashboard/fleet-feed.ts";
import { FleetHistory } from "./dashboard/fleet-history.ts";
import { Access, type Secret } from "./gateway/access/access.ts";
import type { ClientKey } from "./gateway/access/client-keys.ts";
import { Limits } from "./gateway/access/limits.ts";
import { digestOf } from "./gateway/access/secret.ts";
import { createHttpApi } from "./gateway/http-api.ts";
import { KnownModels } from "./gateway/known-models.ts";
import { OpenRequests } from "./gateway/open-requests.ts";
import type { JobRecord } from "./jobs/job-record.ts";
import type { Jobs } from "./jobs/jobs.ts";
import { ModelRequests } from "./models/model-requests.ts";
import { openServer, type TlsMaterial } from "./open-server.ts";
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
  /** What workers show, or what gives its digest; null lets any in, on loopback only. */
  workerToken: string | null | Secret;
  /** What callers of the HTTP API show, who are administrators while there is neither admin token nor key; null likewise. */
  clientToken: string | null | Secret;
  adminToken?: string | null | Secret;
  /** As they are now; null: none are asked for. */
  clientKeys?: () => readonly ClientKey[] | null;
  /** Origins whose pages may use the API. */
  corsOrigins?: readonly string[];
  log: Logger;
  /** Where jobs are kept; in memory where not given. Closed with the coordinator. */
  store?: JobStore;
  /** In place of `store`: what several gateways share. Closed with the coordinator. */
  backend?: OpenBackend;
  /** Jobs that may wait; more are refused. */
  maxQueue?: number;
  /** Of each named key; null: as many as may altogether. */
  maxQueuePerKey?: number | null;
  /** How long jobs that have ended are kept. */
  jobRetentionMs?: number;
  /** Between signs of life on a stream that has nothing to say. */
  keepAliveMs?: number;
  /** Serves https and wss. A function is asked again, so that certificates may be renewed. */
  tls?: TlsMaterial | (() => TlsMaterial);
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
  send(workerId: string, payload: CoordinatorPayload): Promise<boolean>;
  /** Sends the workers away with 1012, so that they come back once it runs again. */
  close(): Promise<void>;
}

const MAX_QUEUE = 10_000;
const JOB_RETENTION_MS = 86_400_000;
const KEEP_ALIVE_MS = 10_000;
const PRUNE_MS = 60_000;
/** What an offer has beside the input. */
const OFFER_BYTES = 4096;
/** How long a worker gets to answer a close frame. */
const CLOSE_TIMEOUT_MS = 1_000;

/** The reference coordinator: one process, or one gateway of several that share a backend. */
export async function startCoordinator(options: CoordinatorOptions): Promise<Coordinator> {
  const { host, log, maxQueue = MAX_QUEUE, keepAliveMs = KEEP_ALIVE_MS } = options;
  const access = new Access({
    workerToken: secretOf(options.workerToken),
    clientToken: secretOf(options.clientToken),
    adminToken: secretOf(options.adminToken ?? null),
    clientKeys: options.clientKeys ?? (() => null),
    maxQueuePerKey: options.maxQueuePerKey ?? null,
  });
  requireTokens(host, access);
  const terms: Terms = { ...PROTOCOL_DEFAULTS, ...defined(options) };
  const history = new FleetHistory();
  // Takes a while to load, and only a coordinator needs it.
  const { createMetrics } = await import("./metrics/metrics.ts");
  const metrics = createMetrics();
  const { counters } = metrics;
  const { workerChanged } = history;
  const jobChanged = (job: JobRecord) => {
    counters.job(job);
    history.jobChanged(job);
  };
  const onLost = (view: WorkerView) => {
    counters.workerLost(view.workerType);
    history.workerLost(view);
  };
  const firstEpoch = options.backend ? Date.now() : 1;
  const registry = createWorkerRegistry({ ...terms, log, firstEpoch, onChange: workerChanged, onLost });
  const boundsOf = (client: string | null) => access.boundsOf(client);
  const jobRetentionMs = options.jobRetentionMs ?? JOB_RETENTION_MS;
  const openBackend = options.backend ?? inProcess(options.store ?? openMemoryStore());
  const parts = {
    ...terms,
    registry,
    maxQueue,
    jobRetentionMs,
    boundsOf,
    log,
    jobChanged,
    workerChanged,
    tally: counters,
  };
  const backend = await openBackend(parts);
  const { jobs, store, workers } = backend;
  const feed = new FleetFeed({ version: VERSION, history, registry: workers, jobs });
  const models = new ModelRequests({ workers: { list: () => workers.list(), send: teller(workers) }, log });
  // The types lag behind: ws itself destroys a socket whose close frame stays unanswered this long.
  const settings: ServerOptions & { closeTimeout: number } = {
    noServer: true,
    perMessageDeflate: false,
    maxPayload: terms.maxFrame,
    closeTimeout: CLOSE_TIMEOUT_MS,
    handleProtocols: () => SUBPROTOCOL,
  };
  const sockets = new WebSocketServer(settings);
  const limits = new Limits(store);
  const maxBody = Math.max(0, terms.maxFrame - OFFER_BYTES);
  const gateway = {
    ...{ jobs, registry: workers, models, limits, feed, metrics: metrics.registry, maxBody, keepAliveMs, log },
    known: new KnownModels(() => workers.list()),
    isOpen: () => access.isOpen,
    trouble: () => backend.trouble(),
  };
  const { server, renew, needsCertificate } = openServer(options.tls);
  const open = new OpenRequests((request) => counters.request(request));
  metrics.watch({ ...backend, streams: () => open.streams() });
  server.on("request", createHttpApi({ gateway, access, corsOrigins: options.corsOrigins ?? [], open, counters }));
  server.on("upgrade", (request, socket, head) => {
    socket.on("error", (error) => log.debug({ reason: error.message }, "A connection broke"));
    if (refuseUpgrade(request, socket, { access, needsCertificate })) return;
    sockets.handleUpgrade(request, socket, head, (opened) =>
      serveWorker(opened, { registry, jobs: backend.desk, terms, log }),
    );
  });
  const port = await listen(server, options);
  const sweep = () => {
    // First: it looks whether anybody is to be forgotten.
    backend.sweep();
    registry.sweep({ mayForget: !backend.evictionsAreFrozen() });
    models.sweep();
    access.sweep();
    limits.sweep();
    renew();
  };
  const sweeper = setInterval(sweep, Math.min(1_000, terms.leaseMs / 4));
  const prune = () => {
    store
      .prune(Date.now() - jobRetentionMs)
      .catch((error: unknown) => log.error({ err: error }, "Old jobs could not be removed"));
  };
  const pruner = setInterval(prune, PRUNE_MS);

  const shut = async () => {
    clearInterval(sweeper);
    clearInterval(pruner);
    const gone = once(server, "close");
    server.close();
    for (const socket of sockets.clients) socket.close(CLOSE.serviceRestart, "the coordinator stops");
    server.closeAllConnections();
    await gone;
    await backend.close();
  };
  let closing: Promise<void> | null = null;
  const close = () => {
    closing ??= shut();
    return closing;
  };
  const authority = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  const url = `${options.tls ? "https" : "http"}://${authority}`;
  log.debug({ url }, "The coordinator listens");
  return {
    url,
    wsUrl: url.replace(/^http/, "ws"),
    port,
    workers: () => workers.list(),
    jobs,
    send: async (workerId, payload) => await workers.send(workerId, payload),
    close,
    [Symbol.asyncDispose]: close,
  };
}

function requireTokens(host: string, access: Access): void {
  const isLoopback = /^(localhost|127(\.\d{1,3}){3}|::1)$/i.test(host);
  if (isLoopback || !(access.workersAreOpen || access.isOpen)) return;
  const missing = [access.workersAreOpen ? "workers" : null, access.isOpen ? "the HTTP API" : null];
  throw new MusterError(
    "CONFIG_INVALID",
    `The coordinator would listen on ${host} without a token for ${missing.filter(Boolean).join(" and ")}.`,
    { hint: "Give both tokens (`openssl rand -hex 32` makes one), or listen on 127.0.0.1." },
  );
}

/** Where it is on its way to another gateway, as good as told: what comes of it is asked again. */
function teller(workers: WorkerDirectory): (workerId: string, payload: CoordinatorPayload) => boolean {
  return (workerId, payload) => {
    const sent = workers.send(workerId, payload);
    return typeof sent === "boolean" ? sent : (workers.get(workerId)?.connected ?? false);
  };
}

function secretOf(given: string | null | Secret): Secret {
  if (typeof given === "function") return given;
  const digest = given === null ? null : digestOf(given);
  return () => digest;
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
