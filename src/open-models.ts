import type { AgentView } from "./agent-view.ts";
import { allowedModel } from "./allowed-model.ts";
import type { Config } from "./config.ts";
import { heldKeeper, holdModels, type ModelsHold } from "./fetch/hold-models.ts";
import { keepModels } from "./fetch/keep-models.ts";
import type { VolumeKeeper } from "./fetch/keep-volume.ts";
import { observeAll } from "./fetch/progress-log.ts";
import type { SyncContext } from "./fetch/sync-context.ts";
import type { Hardware } from "./hardware.ts";
import type { Logger } from "./log.ts";
import type { Variant, VariantFacts } from "./model.ts";
import { select, selectMore, variantsOf } from "./plan.ts";
import { openRememberedModels } from "./remembered-models.ts";
import { RunTimeModels, type RunTimeModelsOptions } from "./run-time-models.ts";
import type { Selection } from "./select/select-models.ts";
import { type Catalog, findWorkerType } from "./select/worker-types.ts";
import type { EngineUrls } from "./settings/engine.ts";
import type { State } from "./state.ts";

export interface OpenModelsOptions
  extends Pick<RunTimeModelsOptions, "catalog" | "engines" | "jobs" | "board" | "log" | "signal" | "over"> {
  config: Config;
  hardware: Hardware;
  fetching: SyncContext;
  state: Pick<State, "folder" | "temporaryIdentity" | "workerId">;
  view: AgentView;
  volume: Pick<VolumeKeeper, "observer">;
  log: Logger;
  catalog: Catalog;
  /** With that of the engine that muster starts. */
  engineUrls: EngineUrls;
}

/** The models of the worker type as they were chosen, and what becomes of them and others. */
export interface OpenedModels {
  selection: Selection;
  models: RunTimeModels;
  /** What is said on the volume of what this worker needs; to be disposed of when it needs nothing more. */
  hold: ModelsHold;
}

/** Chooses the models of the worker type, keeps them on the volume, and takes orders about others from then on. */
export async function openModels(options: OpenModelsOptions): Promise<OpenedModels> {
  const { config, hardware, fetching, state, view, log, catalog, engineUrls, signal, volume } = options;
  const chosen = await select({ config, hardware, sources: fetching, log }, catalog);
  // A second agent on the same folder is another worker, and its models are its own.
  const remembered = await openRememberedModels(state.temporaryIdentity ? null : state.folder, log);
  const isRemoved = (id: string | null) => id !== null && remembered.removed.includes(id);
  const models = chosen.models.filter(
    ({ id, required, adapterOf }) => required || !(isRemoved(id) || isRemoved(adapterOf)),
  );
  const selection = { ...chosen, models };
  const { workerType } = selection;
  view.selected(selection);
  // Before the first look at the volume: who removes models looks for this after he has hidden one.
  const hold = await holdModels(models, {
    layout: fetching.layout,
    name: state.workerId,
    workerType: workerType.id,
    catalog: variantsOf(findWorkerType(catalog, config.workerType), catalog),
  });
  const keeper = keepModels(models, { ...fetching, signal }, observeAll(view.observer, volume.observer));
  const facts = new Map<Variant, VariantFacts>();
  const runTime = new RunTimeModels({
    ...options,
    ...{ workerType, models, remembered },
    keeper: heldKeeper(keeper, hold),
    modelOf: (asked) => allowedModel(asked, { modelPolicy: config.modelPolicy, engineUrls, catalog, workerType }),
    select: (reference, placed, until) =>
      selectMore(reference, { config, hardware, sources: { ...fetching, signal: until }, log, catalog, facts }, placed),
  });
  return { selection, models: runTime, hold };
}
