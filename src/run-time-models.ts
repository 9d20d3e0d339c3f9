import type { AgentView } from "./agent-view.ts";
import { MusterError, toMusterError } from "./errors.ts";
import type { ModelKeeper } from "./fetch/keep-models.ts";
import type { Logger } from "./log.ts";
import type { ModelSpec } from "./model.ts";
import { parseReference, showReference } from "./model-reference.ts";
import type { Placed } from "./plan.ts";
import { RefusedModels } from "./refused-models.ts";
import type { AskedModel, RememberedModels } from "./remembered-models.ts";
import { catalogModel, isNamed } from "./select/named-models.ts";
import type { Catalog, CatalogModel, ModelReference, WorkerType } from "./select/worker-types.ts";
import type { Engines } from "./serve/engines/open-engines.ts";
import type { JobServer } from "./serve/job-server.ts";
import type { StatusBoard } from "./status.ts";
import { takeAway } from "./take-away.ts";
import { untilChosen } from "./until-chosen.ts";

export interface RunTimeModelsOptions {
  workerType: WorkerType;
  /** Those of the worker type, which are kept already. */
  models: readonly ModelSpec[];
  catalog: Catalog;
  /** The model that a reference means here. Throws where it means none, may not be asked for, or has no engine. */
  modelOf: (asked: AskedModel) => CatalogModel;
  /** See selectMore in plan.ts. */
  select: (
    reference: Pick<ModelReference, "model" | "context">,
    placed: () => readonly ModelSpec[],
    signal: AbortSignal,
  ) => Promise<(beside: Placed) => ModelSpec>;
  keeper: ModelKeeper;
  engines: Engines;
  jobs: Pick<JobServer, "serve">;
  remembered: RememberedModels;
  board: StatusBoard;
  view: Pick<AgentView, "chosen" | "removed">;
  log: Logger;
  /** Ends fetching, and with it all that is new. */
  signal: AbortSignal;
  /** Ends what jobs and engines need, too. */
  over: AbortSignal;
  /** Between attempts to learn of a model what a plan needs. */
  again?: { minMs: number; maxMs: number };
}

/** A model of this worker. */
interface OwnModel {
  id: string;
  /** Null where it is of the worker type. */
  asked: AskedModel | null;
  /** Null until its variant is chosen. */
  spec: ModelSpec | null;
  /** Aborted when it is removed. */
  stop: AbortController;
  /** Ends the pause before it is asked about again. */
  wake: () => void;
  /** Until the variant is chosen. */
  choosing: Promise<void>;
  removal: Promise<void> | null;
}

/** Names that are noted of one model. */
const NAMES_NOTED = 16;
const LONGEST_NAME = 512;

/**
 * The models of this worker while it runs: those of its worker type, and what a coordinator asks for or wants removed.
 * Each is fetched, kept and loaded like the first ones; nothing here waits for another.
 */
export class RunTimeModels {
  readonly #options: RunTimeModelsOptions;
  readonly #models = new Map<string, OwnModel>();
  readonly #refused: RefusedModels;

  constructor(options: RunTimeModelsOptions) {
    this.#options = options;
    this.#refused = new RefusedModels(options.board);
    for (const spec of options.models) this.#models.set(spec.id, ownModel(spec.id, null, spec));
    this.#serve();
    // What an earlier process was asked for; the policy may have changed since.
    for (const asked of options.remembered.asked) this.#ensure(asked, { isRemembered: true });
  }

  ensure(models: readonly AskedModel[]): void {
    for (const asked of models) this.#ensure(asked, { isRemembered: false });
  }

  remove(names: readonly string[]): void {
    for (const name of names) this.#remove(name);
  }

  /** Looks again at what is missing. */
  sync(): void {
    this.#options.keeper.sync();
    for (const model of this.#models.values()) model.wake();
  }

  /** Settles after the signals, when nothing runs any more. */
  async ended(): Promise<void> {
    await this.#options.keeper.ended;
    await Promise.all([...this.#models.values()].flatMap(({ choosing, removal }) => [choosing, removal]));
  }

  #ensure(asked: AskedModel, { isRemembered }: { isRemembered: boolean }): void {
    const { board, remembered, signal, log } = this.#options;
    const known = this.#find(asked.reference);
    if (known?.removal) {
      known.removal.then(() => this.#ensure(asked, { isRemembered })).catch(() => undefined);
      return;
    }
    if (signal.aborted || board.current.state === "draining") {
      if (!known) this.#refuse(asked.reference, draining(asked.reference));
      return;
    }
    if (known) {
      this.#askAgain(known, asked.reference);
      return;
    }
    let model: CatalogModel;
    try {
      model = this.#options.modelOf(asked);
    } catch (error) {
      this.#refuse(asked.reference, toMusterError(error));
      return;
    }
    if (!isRemembered) void remembered.remember(asked);
    if (remembered.removed.includes(model.id)) void remembered.setRemoved(model.id, false);
    this.#refused.forget(model.id);
    const own = ownModel(model.id, asked, null);
    this.#models.set(own.id, own);
    const { source, location, engine, id: variant } = model.variants[0]!;
    board.setModel(own.id, {
      ...{ source, location, engine, variant },
      required: false,
      state: "requested",
      error: null,
    });
    this.#noteName(own.id, asked.reference);
    own.choosing = this.#choose(own, model, isRemembered).catch((error: unknown) =>
      log.error({ err: error }, `Bringing ${own.id} here failed`),
    );
  }

  #askAgain({ id, wake }: OwnModel, name: string): void {
    const { board, keeper } = this.#options;
    this.#noteName(id, name);
    const shown = this.#shown(id);
    // Told, so that whoever asks sees that what follows is a new answer.
    if (shown?.state === "failed") board.setModel(id, { state: "requested", error: null });
    else if (shown?.error?.code === "MODEL_REQUIRED") board.setModel(id, { error: null });
    wake();
    keeper.sync(id);
  }

  /** Finds the variant that fits, and hands the model on to what fetches, loads and serves it. */
  async #choose(own: OwnModel, model: CatalogModel, isRemembered: boolean): Promise<void> {
    const { keeper, remembered, view, select, workerType } = this.#options;
    const signal = AbortSignal.any([this.#options.signal, own.stop.signal]);
    let spec: ModelSpec;
    try {
      const context = own.asked?.options.context ?? null;
      const choose = async () => {
        const among = await select({ model, context }, () => this.#placed(), signal);
        signal.throwIfAborted();
        // At once, so that no other is placed meanwhile where this one goes.
        own.spec = among({ workerType, models: this.#placed() });
        return own.spec;
      };
      spec = await untilChosen(choose, { ...this.#options, own, signal });
    } catch (error) {
      if (signal.aborted) return;
      this.#models.delete(own.id);
      // A card that is away at the start may be back at the next.
      if (!isRemembered && own.asked) await remembered.forget(own.asked.reference);
      return this.#refuse(own.id, toMusterError(error));
    }
    view.chosen(spec);
    this.#serve();
    keeper.keep(spec);
  }

  #remove(name: string): void {
    const { board, log } = this.#options;
    const own = this.#find(name);
    if (own?.spec?.required) {
      const error = required(own.id, this.#options.workerType.id);
      log.warn({ code: error.code, hint: error.hint }, error.message);
      board.setModel(own.id, { error: error.toJSON() });
    } else if (own) {
      for (const { id, spec } of [...this.#models.values()]) if (spec?.adapterOf === own.id) this.#remove(id);
      own.removal ??= this.#takeAway(own).catch((error: unknown) =>
        log.error({ err: error }, `Removing ${own.id} failed`),
      );
    } else if (!this.#refused.remove(name))
      log.info(`${name} is none of this worker's models; there is nothing to remove`);
  }

  /** No new jobs at once; those that run end first. */
  async #takeAway(own: OwnModel): Promise<void> {
    const { remembered, view, engines } = this.#options;
    // Before another removal makes engines serve less.
    const served = engines.find(own.id);
    own.stop.abort();
    await (own.asked ? remembered.forget(own.asked.reference) : remembered.setRemoved(own.id, true));
    await own.choosing;
    const others = this.#placed().filter(({ id }) => id !== own.id);
    if (own.spec) await takeAway(own.spec, { ...this.#options, others, served, stopServing: () => this.#serve() });
    this.#models.delete(own.id);
    this.#serve();
    view.removed(own.id);
  }

  #serve(): void {
    const { engines, jobs, workerType } = this.#options;
    const leaving = new Set([...this.#models.values()].filter(({ removal }) => removal).map(({ id }) => id));
    engines.serve(this.#placed().filter(({ id }) => !leaving.has(id)));
    jobs.serve(this.#placed(), workerType.slots);
  }

  #placed(): ModelSpec[] {
    return [...this.#models.values()].flatMap(({ spec }) => (spec ? [spec] : []));
  }

  /** One of this worker's models, by its id, its name at its source, or a reference to just its variant. */
  #find(name: string): OwnModel | null {
    const named = parseReference(name);
    const id = named ? showReference(named) : (catalogModel(name, this.#options.catalog)?.id ?? name);
    const own = [...this.#models.values()];
    return (
      this.#models.get(name) ??
      this.#models.get(id) ??
      own.find(({ spec }) => spec && (named ? isNamed(spec.variant, named) : spec.variant.location === name)) ??
      null
    );
  }

  #noteName(id: string, name: string): void {
    const shown = this.#shown(id);
    if (!shown || name === id || shown.asked.includes(name)) return;
    this.#options.board.setModel(id, { asked: [...shown.asked, name].slice(-NAMES_NOTED) });
  }

  /** Shows why there is no such model here. */
  #refuse(id: string, error: MusterError): void {
    this.#options.log.warn({ code: error.code, hint: error.hint }, error.message);
    this.#refused.show(id.slice(0, LONGEST_NAME), error);
  }

  #shown(id: string) {
    return this.#options.board.current.models.find((model) => model.id === id) ?? null;
  }
}

function ownModel(id: string, asked: AskedModel | null, spec: ModelSpec | null): OwnModel {
  const stop = new AbortController();
  return { id, asked, spec, stop, wake: () => undefined, choosing: Promise.resolve(), removal: null };
}

function draining(reference: string): MusterError {
  return new MusterError("DRAINING", `This worker is leaving, and takes ${reference.slice(0, 200)} no more.`, {
    hint: "Ask another worker for it; `muster status` shows what this one does.",
  });
}

function required(id: string, workerType: string): MusterError {
  return new MusterError("MODEL_REQUIRED", `${id} stays: worker type ${workerType} requires it.`, {
    hint: "Make it optional in the catalog, or give the worker another WORKER_TYPE; `muster plan` shows what each requires.",
  });
}
