import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createAgentView } from "./agent-view.ts";
import { readClientCertificate } from "./client-certificate.ts";
import { type Config, currentCoordinatorToken } from "./config.ts";
import { EXIT } from "./errors.ts";
import { keepModels, type ModelKeeper } from "./fetch/keep-models.ts";
import { openFetch } from "./fetch/open-fetch.ts";
import { storedVariants } from "./fetch/stored-variants.ts";
import { startHttp } from "./http/server.ts";
import type { Logger } from "./log.ts";
import type { ModelSpec } from "./model.ts";
import { detect, openCatalog, select } from "./plan.ts";
import { openOutbox, type Registration, startRegistration } from "./register/register.ts";
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
  const fetching = leaving.use(await openFetch(config, log, running));
  const view = createAgentView({ board, log, catalog, layout: fetching.layout });
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
  const sync = () => void keeping?.then((keeper) => keeper.sync()).catch(() => undefined);
  let keeping = null as Promise<ModelKeeper> | null;
  const local = leaving.adopt(
    await startLocalApi({
      ...{ folder: state.folder, jobs, board, log },
      onCommand: (type) => view.obey({ type }, { drain: () => leave("asked on this machine"), sync }),
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
    const selected = select({ config, hardware, sources: fetching, log }, catalog);
    const kept = selected.then((selection) => {
      view.selected(selection);
      engines.serve(selection.models);
      jobs.serve(selection.models, selection.workerType.slots);
      return keepModels(selection.models, { ...fetching, signal: running }, view.observer);
    });
    keeping = kept;
    leaving.defer(async () => {
      stop.abort();
      // Where it failed, that has been told already.
      await kept.then(({ ended }) => ended).catch(() => undefined);
    });
    await Promise.race([kept, sleep(PATIENCE_MS, undefined, { signal: running })]);

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
        onCommand: (command) => view.obey(command, { drain: () => leave("asked by the coordinator"), sync }),
        signal: new AbortController().signal,
      });
      registration = started;
      leaving.defer(() => started.bye("stopped"));
      view.registering(started, () => leave("refused by the coordinator"));
    } else {
      log.warn("COORDINATOR_URL is not set: this worker stands alone");
    }

    // 5. Serve, until told to stop
    const keeper = await kept;
    const { models, workerType: settled } = await selected;
    const serving = Promise.all([
      keeper.ended,
      keepReady({ engines, board, log, signal: drained.signal }),
      superviseEngine(engine, {
        ...{ config, log, board, storedOf, signal: drained.signal },
        plan: { models, hardware, engineUrls, engineSettings: settled.engineSettings },
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
