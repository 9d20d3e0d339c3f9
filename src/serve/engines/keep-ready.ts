import { setTimeout as sleep } from "node:timers/promises";
import { type ErrorData, toMusterError } from "../../errors.ts";
import { jobError } from "../../job.ts";
import type { Logger } from "../../log.ts";
import type { ModelSpec } from "../../model.ts";
import { fullJitter } from "../../retry.ts";
import { isStored, type StatusBoard, type StatusEvent } from "../../status.ts";
import type { Engine, EngineHealth, EngineModel } from "./engine.ts";
import { engineName } from "./engine-error.ts";
import type { Engines } from "./open-engines.ts";

/** Between two looks while an engine is not there, or did not answer once: work waits for it. */
const SOON_MS = 2_000;
/** Looks in a row that have to fail before an engine counts as gone: a busy one may be late. */
const MISSES = 2;
/** Loads in a row that may fail of a model that was asked for at run time: whoever asked waits for an answer. */
const LOADS = 3;

export interface KeepReadyOptions {
  engines: Engines;
  board: StatusBoard;
  log: Logger;
  signal: AbortSignal;
  /** This worker starts one itself when its models are there: that it is not there before is nothing to warn of. */
  startsEngine?: boolean;
  /** Between two looks at an engine that is there. */
  everyMs?: number;
  /** Pause after a failed load; its window doubles from `minMs` to `maxMs`. */
  again?: { minMs: number; maxMs: number };
}

/**
 * Keeps this worker's models loaded for as long as it runs. A stored model whose engine answers is loading, then ready;
 * those of one engine are loaded one after the other. When the engine goes they are stored again. What cannot be loaded
 * stays stored with the error, and is tried again; what was asked for at run time has failed then. Settles after the signal, when nothing runs any more.
 */
export async function keepReady(options: KeepReadyOptions): Promise<void> {
  await Promise.all(options.engines.all.map((engine) => new EngineKeeper(engine, options).run()));
}

class EngineKeeper {
  readonly #engine: Engine;
  readonly #options: KeepReadyOptions;
  /** What was told of models that the engine does not serve, by their ids. */
  readonly #notServed = new Map<string, string>();
  /** Ends the loading; null while the engine is not there. */
  #loading: { stop: AbortController; ended: Promise<void> } | null = null;
  /** Has the loading look again. */
  #lookAgain: () => void = () => undefined;

  constructor(engine: Engine, options: KeepReadyOptions) {
    this.#engine = engine;
    this.#options = options;
  }

  async run(): Promise<void> {
    const { signal, everyMs = 10_000 } = this.#options;
    let misses = 0;
    while (!signal.aborted) {
      const health = await this.#engine.probe(signal);
      if (signal.aborted) break;
      misses = health.reachable ? 0 : misses + 1;
      if (health.reachable) await this.#there(health);
      else if (!this.#loading || misses >= MISSES) await this.#gone(health);
      const pause = health.reachable ? everyMs : Math.min(everyMs, SOON_MS);
      await this.#change(pause, signal, (event) => {
        if (event.kind === "model") return health.reachable && this.#hasNew();
        const isDown = event.kind === "job" && event.end?.error?.code === "ENGINE_DOWN" && this.#has(event.job.model);
        // A job has found it gone: one look more is enough, and at once, before other jobs do.
        if (isDown) misses = MISSES - 1;
        return isDown;
      });
    }
    await this.#stopLoading();
  }

  async #there(health: EngineHealth): Promise<void> {
    const { engines, signal } = this.#options;
    await engines.learn(this.#engine, health.models);
    if (signal.aborted) return;
    if (this.#show(health)) this.#options.log.info(`${engineName(this.#engine)} is there`);
    for (const { spec, model } of engines.of(this.#engine)) {
      const error = model ? null : notServed(this.#engine, spec, health.models).toJSON();
      this.#tellServed(spec, error);
    }
    this.#loading ??= this.#startLoading();
    this.#lookAgain();
  }

  /** Shows that the engine does not serve the model, or that it does now; `error`: why not. */
  #tellServed({ id, runTime }: ModelSpec, error: ErrorData | null): void {
    const { board } = this.#options;
    const shown = board.current.models.find((model) => model.id === id);
    if (!shown) return;
    const told = this.#notServed.get(id);
    const isTold = told !== undefined && shown.error?.message === told;
    if (error) {
      if (!isStored(shown.state) || (isTold && told === error.message)) return;
      this.#notServed.set(id, error.message);
      board.setModel(id, { state: runTime ? "failed" : "stored", error });
    } else if (told !== undefined) {
      this.#notServed.delete(id);
      if (isStored(shown.state) || (shown.state === "failed" && isTold))
        board.setModel(id, { state: "stored", error: null });
    }
  }

  async #gone(health: EngineHealth): Promise<void> {
    const { engines, board, log, startsEngine } = this.#options;
    await this.#stopLoading();
    const isFirst = board.current.engines.every(({ kind }) => kind !== this.#engine.kind);
    if (this.#show(health)) {
      if (isFirst && startsEngine) log.info(`${engineName(this.#engine)} is not there yet`);
      else log.warn(`${engineName(this.#engine)} is not there`);
    }
    for (const { spec } of engines.of(this.#engine)) {
      if (["loading", "ready"].includes(this.#stateOf(spec.id) ?? "")) board.setModel(spec.id, { state: "stored" });
    }
  }

  #startLoading() {
    const stop = new AbortController();
    return { stop, ended: this.#loadAll(AbortSignal.any([this.#options.signal, stop.signal])) };
  }

  async #stopLoading(): Promise<void> {
    this.#loading?.stop.abort();
    await this.#loading?.ended;
    this.#loading = null;
  }

  /** Loads what is stored, and what will be, until the signal. */
  async #loadAll(signal: AbortSignal): Promise<void> {
    const { engines, again = { minMs: 5_000, maxMs: 300_000 } } = this.#options;
    const failures = new Map<string, { count: number; dueAt: number }>();
    const dueIn = ({ id }: EngineModel) => (failures.get(id)?.dueAt ?? 0) - performance.now();
    while (!signal.aborted) {
      const waiting = engines.of(this.#engine).flatMap(({ spec, model }) => {
        return model && this.#stateOf(model.id) === "stored" ? [{ ...model, runTime: spec.runTime }] : [];
      });
      const next = waiting.find((model) => dueIn(model) <= 0);
      if (!next) {
        const looked = new AbortController();
        this.#lookAgain = () => looked.abort();
        const until = AbortSignal.any([signal, looked.signal]);
        await this.#change(Math.max(0, Math.min(...waiting.map(dueIn), 60_000)), until, ({ kind }) => kind === "model");
      } else if (await this.#load(next, signal)) {
        failures.delete(next.id);
      } else {
        const count = (failures.get(next.id)?.count ?? 0) + 1;
        const pause = again.minMs + fullJitter(count, again.minMs, again.maxMs);
        failures.set(next.id, { count, dueAt: performance.now() + pause });
        if (next.runTime && count >= LOADS && this.#giveUp(next.id)) failures.delete(next.id);
      }
    }
  }

  /** False where it failed. */
  async #load(model: EngineModel, signal: AbortSignal): Promise<boolean> {
    const { board, log } = this.#options;
    const before = board.current.models.find(({ id }) => id === model.id)?.error?.message;
    board.setModel(model.id, { state: "loading", error: null });
    const unwanted = new AbortController();
    const unsubscribe = board.onChange(() => {
      if (this.#stateOf(model.id) !== "loading") unwanted.abort();
    });
    try {
      await this.#engine.warmUp(model, AbortSignal.any([signal, unwanted.signal]));
    } catch (failure) {
      if (unwanted.signal.aborted) return true;
      if (signal.aborted) return false;
      const error = toMusterError(failure);
      if (error.message !== before) {
        log.warn({ code: error.code, hint: error.hint }, `${model.id} cannot be loaded: ${error.message}`);
      }
      this.#ifLoading(model.id, { state: "stored", error: error.toJSON() });
      return false;
    } finally {
      unsubscribe();
    }
    if (this.#ifLoading(model.id, { state: "ready" })) log.info(`${model.id} is ready on ${engineName(this.#engine)}`);
    return true;
  }

  /** Whether it has: not of what could not be loaded because the engine was away. */
  #giveUp(id: string): boolean {
    const { board } = this.#options;
    const shown = board.current.models.find((model) => model.id === id);
    const isOver = shown?.state === "stored" && shown.error !== null && shown.error.code !== "ENGINE_DOWN";
    if (isOver) board.setModel(id, { state: "failed" });
    return isOver;
  }

  /** Meanwhile its files may have gone, or what the engine serves may have changed. */
  #ifLoading(id: string, change: Parameters<StatusBoard["setModel"]>[1]): boolean {
    const isLoading = this.#stateOf(id) === "loading";
    if (isLoading) this.#options.board.setModel(id, change);
    return isLoading;
  }

  #stateOf(id: string) {
    return this.#options.board.current.models.find((model) => model.id === id)?.state;
  }

  /** Puts the engine on the board; whether it was not so before. */
  #show({ reachable, version }: EngineHealth): boolean {
    const { engines, board } = this.#options;
    const { kind, url } = this.#engine;
    const before = board.current.engines.find((each) => each.kind === kind);
    if (before?.reachable === reachable && before.version === version) return false;
    const others = board.current.engines.filter((each) => each.kind !== kind);
    const order = engines.all.map((each) => each.kind);
    const all = [...others, { kind, url, reachable, version }];
    board.update({ engines: all.toSorted((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind)) });
    return before?.reachable !== reachable;
  }

  #has(id: string): boolean {
    return this.#options.engines.of(this.#engine).some(({ spec }) => spec.id === id);
  }

  /** A model has come since the engine said what it serves. */
  #hasNew(): boolean {
    return this.#options.engines
      .of(this.#engine)
      .some(({ spec: { id }, model }) => !model && !this.#notServed.has(id) && this.#stateOf(id) === "stored");
  }

  /** Settles at the next such change, after the time, or at the signal. */
  async #change(ms: number, signal: AbortSignal, isSuch: (event: StatusEvent) => boolean): Promise<void> {
    const changed = new AbortController();
    const unsubscribe = this.#options.board.onChange((event) => {
      if (isSuch(event)) changed.abort();
    });
    await sleep(ms, undefined, { signal: AbortSignal.any([signal, changed.signal]) }).catch(() => undefined);
    unsubscribe();
  }
}

function notServed(engine: Engine, { id, adapterOf }: ModelSpec, listed: string[] | null) {
  return jobError(
    "MODEL_NOT_READY",
    `${engineName(engine)} does not serve ${id}; it serves ${listed?.join(", ") || "nothing"}.`,
    adapterOf === null
      ? `Start it with this model, or name the model with --served-model-name ${id}.`
      : `Start it with --enable-lora --lora-modules ${id}=FOLDER; \`muster plan\` shows how, and \`muster start -- vllm serve\` does it.`,
  );
}
