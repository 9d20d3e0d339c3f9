import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Actions, createAgentView } from "./agent-view.ts";
import { readClientCertificate } from "./client-certificate.ts";
import { type Config, currentCoordinatorToken } from "./config.ts";
import { EXIT } from "./errors.ts";
import { keepVolume } from "./fetch/keep-volume.ts";
import { openFetch } from "./fetch/open-fetch.ts";
import { storedVariants } from "./fetch/stored-variants.ts";
import { startHttp } from "./http/server.ts";
import type { Logger } from "./log.ts";
import type { ModelSpec } from "./model.ts";
import { openModels } from "./open-models.ts";
import { detect, openCatalog } from "./plan.ts";
import { openOutbox, type Registration, startRegistration } from "./register/register.ts";
import type { RunTimeModels } from "./run-time-models.ts";
import { findWorkerType } from "./select/worker-types.ts";
import { withSupervised } from "./serve/engines/engine-start.ts";
import { keepReady } from "./serve/engines/keep-ready.ts";
import { openEngines } from "./serve/engines/open-engines.ts";
import { superviseEngine } from "./serve/engines/supervise-engine.ts";
import { createJobServer } from "./serve/job-server.ts";
import { startLocalApi } from "./serve/local-api.ts";
import { openState } from "./state.ts";
import { createStatusBoard } from "./status.ts";
import { diskSpace, VERSION } from "./system.ts";

export interface AgentOptions {
  config: Config;
  log: Logger;
  /** The engine to supervise, from `muster start -- COMMAND …`; empty for none. */
  engine: string[];
  /** Aborted by the first SIGTERM: drain, say goodbye, end. */
  signal: AbortSignal;
  /** Aborted by the second: give back what runs, say goodbye, end without waiting for the engine. */
  hurry: AbortSignal;
}

/** Selecting may have to ask the hub. This long the worker waits to be seen with its models, then it is seen without. */
const PATIENCE_MS = 3_000;

/** The life of a worker in five steps. Gives the exit code; throws what makes a start impossible. */
export async function runAgent({ config, log, engine, signal, hurry }: AgentOptions): Promise<number> {
  const catalog = await openCatalog(config);
  const workerType = findWorkerType(catalog, config.workerType);
  await using leaving = new AsyncDisposableStack();
  const state = leaving.adopt(await openState(config), (opened) => opened.close());
  const stop = new AbortController();
  const running = AbortSignal.any([signal, stop.signal]);
  // Jobs need their engines to the last.
  const drained = new AbortController();
  const over = once(drained.signal, "abort");
  const hurried = once(hurry, "abort").then(() => over);
  const board = createStatusBoard({
    version: VERSION,
    workerId: state.workerId,
    bootId: crypto.randomUUID(),
    workerType: workerType.id,
  });
  const http = leaving.adopt(await startHttp({ port: config.httpPort, host: config.httpHost, board, log }), (server) =>
    server.close(),
  );
  const fetching = leaving.use(await openFetch({ ...config, workerId: state.workerId }, log, running));
  const view = createAgentView({ board, log, catalog, layout: fetching.layout });
  const volume = keepVolume({ config, layout: fetching.layout, board, log, signal: running });
  leaving.defer(() => {
    stop.abort();
    return volume.ended;
  });
  const engineUrls = withSupervised(config.engineUrls, engine, process.env);
  const storedOf = async ({ variant }: ModelSpec) =>
    (await storedVariants([variant], fetching.layout)).get(variant) ?? null;
  const engines = openEngines({ config: { ...config, engineUrls }, storedOf });
  const { slots } = workerType;
  const { logPayloads, coordinatorCertificate: certificate } = config;
  const jobs = createJobServer({ board, log, slots, engineOf: (id) => engines.find(id), logPayloads });
  leaving.defer(() => jobs.close());
  let registration = null as Registration | null;
  const leave = (why: string) => {
    view.draining(why);
    stop.abort();
    Promise.all([registration?.drain(why), localJobsOver()]).finally(() => drained.abort());
  };
  // Those of this machine are nobody's to give back: they get as long as the others, and then they are cancelled.
  const localJobsOver = () =>
    Promise.race([jobs.idle(), once(hurry, "abort"), sleep(config.drainTimeoutMs, undefined, { ref: false })]);
  let opening = null as Promise<RunTimeModels> | null;
  // What is asked before the models are chosen waits for that. Where choosing fails the agent ends.
  const toModels = (order: (models: RunTimeModels) => void) => void opening?.then(order).catch(() => undefined);
  const actions = (drain: () => void): Actions => ({
    drain,
    sync: () => toModels((models) => models.sync()),
    ensure: (asked) => toModels((models) => models.ensure(asked)),
    remove: (names) => toModels((models) => models.remove(names)),
  });
  const local = leaving.adopt(
    await startLocalApi({
      ...{ folder: state.folder, jobs, board, log, engineOf: (name) => engines.find(name) },
      onCommand: (type) =>
        view.obey(
          { type },
          actions(() => leave("asked on this machine")),
        ),
    }),
    (opened) => opened.close(),
  );
  await state.publish(http.port, local.path);
  signal.addEventListener("abort", () => leave("told to stop"), { once: true });
  hurry.addEventListener("abort", () => registration?.release(), { once: true });
  view.started(state, http.port);
  try {
    // 1. Detect
    const hardware = await detect(config, running);
    view.detected(hardware);

    // 2. Select, and 3. fetch: for as long as the worker lives, what is missing is fetched
    const opened = openModels({
      ...{ config, hardware, fetching, state, view, log, catalog, engines, engineUrls, jobs, board },
      ...{ signal: running, over: drained.signal, volume },
    });
    opening = opened.then(({ models }) => models);
    opening.catch(() => undefined);
    leaving.defer(async () => {
      stop.abort();
      drained.abort();
      // Where it failed, that has been told already.
      await opened.then(({ models }) => models.ended()).catch(() => undefined);
      await opened.then(({ hold }) => hold[Symbol.asyncDispose]()).catch(() => undefined);
    });
    await Promise.race([opened, sleep(PATIENCE_MS, undefined, { signal: running })]);

    // 4. Register, beside the fetching: a two-hour download is a worker that shows its progress, not a dead one
    if (config.coordinatorUrl) {
      const folder = join(state.folder, "outbox");
      const outbox = leaving.adopt(await openOutbox({ folder, log }), (opened) => opened.close());
      running.throwIfAborted();
      const started = startRegistration({
        url: config.coordinatorUrl,
        token: async () => currentCoordinatorToken(config),
        ca: config.coordinatorCa ?? undefined,
        certificate: async () => certificate && readClientCertificate(certificate),
        board,
        runner: jobs,
        outbox,
        drainTimeoutMs: config.drainTimeoutMs,
        log,
        diskFree: async () => Math.floor((await diskSpace(config.modelCacheDir)).free),
        gpuUsage: () => view.gpuUsage(() => detect(config, running)),
        onCommand: (command) =>
          view.obey(
            command,
            actions(() => leave("asked by the coordinator")),
          ),
        signal: new AbortController().signal,
      });
      registration = started;
      leaving.defer(() => started.bye("stopped"));
      view.registering(started, () => leave("refused by the coordinator"));
    } else {
      log.warn("COORDINATOR_URL is not set: this worker stands alone");
    }

    // 5. Serve, until told to stop
    const { models, selection } = await opened;
    const serving = Promise.all([
      models.ended(),
      keepReady({ engines, board, log, signal: drained.signal, startsEngine: engine.length > 0 }),
      superviseEngine(engine, {
        ...{ config, log, board, storedOf, signal: drained.signal },
        plan: { models: selection.models, hardware, engineUrls, engineSettings: selection.workerType.engineSettings },
        // A server that pulls the models has to run before they are there.
        when: config.ollamaStore === "server" ? Promise.resolve() : view.ready(drained.signal),
      }),
    ]);
    await Promise.race([serving, hurried]);
  } catch (error) {
    if (!running.aborted) throw error;
  }
  if (registration) await over;
  return view.refusal?.exitCode ?? EXIT.ok;
}
