import type { Config } from "./config.ts";
import { detectHardware } from "./detect/detect-hardware.ts";
import { MusterError, toMusterError } from "./errors.ts";
import { collectFacts, type DescribeContext } from "./fetch/describe.ts";
import { storedVariants } from "./fetch/stored-variants.ts";
import type { Hardware } from "./hardware.ts";
import type { Logger } from "./log.ts";
import type { Engine, ModelSpec, Variant, VariantFacts } from "./model.ts";
import { contentObjections } from "./select/content-objection.ts";
import { selectBeside } from "./select/select-beside.ts";
import { type Selection, selectModels } from "./select/select-models.ts";
import {
  type Catalog,
  findWorkerType,
  type ModelReference,
  readCatalog,
  type WorkerType,
} from "./select/worker-types.ts";
import { type EngineStart, engineStart, withSupervised } from "./serve/engines/engine-start.ts";
import { storedFacts } from "./serve/engines/stored-facts.ts";

/** The first two steps, detect and select, as the agent and the commands share them. */

export function openCatalog(config: Config): Promise<Catalog> {
  return readCatalog(config.catalogFile, config.catalogOverlay);
}

export function detect(config: Config, signal?: AbortSignal): Promise<Hardware> {
  const { nvidia, cuda, rocr, hip } = config.visibleDevices;
  return detectHardware({
    enableGpu: config.enableGpu,
    env: { nvidiaVisibleDevices: nvidia, cudaVisibleDevices: cuda, rocrVisibleDevices: rocr, hipVisibleDevices: hip },
    signal,
  });
}

export interface SelectContext {
  config: Config;
  hardware: Hardware;
  sources: DescribeContext;
  log: Logger;
}

/** The models of WORKER_TYPE in the variants that fit. */
export function select(context: SelectContext, catalog: Catalog): Promise<Selection> {
  return selectFor(findWorkerType(catalog, context.config.workerType), context, catalog);
}

/** A plan without facts goes by the catalog, and fetching asks again with more patience. */
const FACT_RETRIES = 1;

/** The same for any worker type, of the catalog or made for one command. */
export async function selectFor(
  type: WorkerType,
  { config, hardware, sources, log }: SelectContext,
  catalog: Catalog,
): Promise<Selection> {
  // What only a GPU could hold need not be asked for where there is none.
  const candidates = variantsOf(type, catalog).filter(
    ({ minGpuMemoryGb }) => hardware.gpus.length > 0 || minGpuMemoryGb === 0,
  );
  const refusedFiles = new Map<Variant, MusterError>();
  const facts = await collectFacts(
    candidates,
    { ...sources, ask: { ...sources.ask, retries: FACT_RETRIES } },
    (variant, error) => {
      if (sources.signal?.aborted) return;
      if (isPickleRefusal(error)) return void refusedFiles.set(variant, error);
      const reason = error instanceof MusterError ? error.message : String(error);
      log.warn(`Nothing is known beforehand of ${variant.location}; going by the catalog. ${reason}`);
    },
  );
  sources.signal?.throwIfAborted();
  const { enableGpu, minGpuMemoryGb, contentPolicy: policy } = config;
  const factsOf = (variant: Variant) => facts.get(variant) ?? null;
  const objectTo = contentObjections({ policy, factsOf, refused: refusedFiles });
  return selectModels({ catalog, workerType: type, hardware, enableGpu, minGpuMemoryGb, factsOf, objectTo });
}

function isPickleRefusal(error: unknown): error is MusterError {
  return error instanceof MusterError && error.code === "PICKLE_REFUSED";
}

export interface Placed {
  workerType: WorkerType;
  models: readonly ModelSpec[];
}

/**
 * Learns what is needed to place one model more, and gives what places it beside others, or throws NOTHING_FITS. Throws why
 * nothing is known of a model whose size no catalog declares. `facts`: of variants that were asked about before.
 */
export async function selectMore(
  reference: Pick<ModelReference, "model" | "context">,
  {
    config,
    hardware,
    sources,
    catalog,
    facts,
  }: SelectContext & { catalog: Catalog; facts: Map<Variant, VariantFacts> },
  placed: () => readonly ModelSpec[],
): Promise<(beside: Placed) => ModelSpec> {
  const { variants } = reference.model;
  const unknown = [...variants, ...placed().map(({ variant }) => variant)].filter((each) => !facts.has(each));
  const failures = new Map<Variant, unknown>();
  const context = { ...sources, ask: { ...sources.ask, retries: FACT_RETRIES } };
  const found = await collectFacts(unknown, context, (variant, error) => failures.set(variant, error));
  sources.signal?.throwIfAborted();
  for (const [variant, fact] of found) facts.set(variant, fact);
  const hasSize = (variant: Variant) => variant.sizeBytes !== null || facts.has(variant);
  if (!variants.some(hasSize)) throw toMusterError(variants.map((variant) => failures.get(variant)).find(Boolean));
  const { enableGpu, minGpuMemoryGb, contentPolicy: policy } = config;
  const factsOf = (variant: Variant) => facts.get(variant) ?? null;
  const pickled = [...failures].flatMap(([variant, error]) =>
    isPickleRefusal(error) ? [[variant, error] as const] : [],
  );
  const objectTo = contentObjections({ policy, factsOf, refused: new Map(pickled) });
  return ({ workerType, models }) =>
    selectBeside({ catalog, workerType, hardware, enableGpu, minGpuMemoryGb, factsOf, objectTo }, models, reference);
}

/** How `muster start -- vllm serve`, or `-- ollama serve`, would start the engines of these models. */
export async function engineStarts(
  { models, workerType }: Selection,
  { config, hardware, sources }: SelectContext,
): Promise<({ engine: Engine } & EngineStart)[]> {
  const storedOf = async ({ variant }: ModelSpec) =>
    (await storedVariants([variant], sources.layout)).get(variant) ?? null;
  const stored = await storedFacts(models, storedOf);
  const { engineSettings } = workerType;
  const kinds = (["vllm", "ollama"] as const).filter((kind) => models.some(({ variant }) => variant.engine === kind));
  return kinds.map((engine) => {
    const command: [string, ...string[]] = [engine, "serve"];
    const engineUrls = withSupervised(config.engineUrls, command, process.env);
    const plan = { models, hardware, engineUrls, engineSettings, stored };
    return { engine, ...engineStart(command, plan, { config, env: process.env }) };
  });
}

/** All that a worker of the type could choose: its variants, and those of the types it may fall back to. */
export function variantsOf(type: WorkerType, catalog: Catalog): Variant[] {
  const variants = new Set<Variant>();
  for (
    let next: WorkerType | undefined = type;
    next;
    next = next.fallback ? catalog.workerTypes.get(next.fallback) : undefined
  ) {
    for (const { model } of next.models) {
      for (const variant of model.variants) {
        variants.add(variant);
        for (const adapter of variant.adapters) variants.add(adapter.variant);
      }
    }
  }
  return [...variants];
}
