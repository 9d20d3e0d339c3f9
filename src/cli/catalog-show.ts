import { MusterError } from "../errors.ts";
import { bytes } from "../fetch/progress-log.ts";
import type { Variant } from "../model.ts";
import { openCatalog } from "../plan.ts";
import { type CardFit, smallestCard } from "../select/smallest-card.ts";
import { smallestMachine } from "../select/smallest-machine.ts";
import type { Catalog, CatalogModel, ModelReference, WorkerType } from "../select/worker-types.ts";
import { needs } from "./catalog-check.ts";
import { print, table } from "./output.ts";
import { type GlobalOptions, setup } from "./setup.ts";

/** `muster catalog show [TYPE|MODEL]`: the catalog with its overlay, as a worker of this configuration sees it. */
export async function catalogShow(name: string | undefined, options: GlobalOptions): Promise<number> {
  const { config } = setup({ logTo: "stderr", logFile: false, quiet: true });
  const catalog = await openCatalog(config);
  const type = name === undefined ? undefined : catalog.workerTypes.get(name);
  const model = name === undefined ? undefined : catalog.models.get(name);
  if (name !== undefined && !type && !model) throw unknown(name, catalog);
  const models = model
    ? [model]
    : type
      ? type.models.map((reference) => reference.model)
      : [...catalog.models.values()];
  const types = type ? [type] : model ? [] : [...catalog.workerTypes.values()];
  const data = {
    files: [config.catalogFile, ...(config.catalogOverlay ? [config.catalogOverlay] : [])],
    models: [...new Set(models)].map((each) => describeModel(each, catalog)),
    workerTypes: types.map(describeType),
  };
  print(data, options, () => {
    if (model) return modelInWords(data.models[0]!);
    const sections = [modelTable(data.models), typeTable(types)];
    return type ? typeInWords(type, data.models) : sections.join("\n\n");
  });
  return 0;
}

function unknown(name: string, { models, workerTypes }: Catalog): MusterError {
  return new MusterError("MODEL_UNKNOWN", `The catalog has no worker type and no model ${JSON.stringify(name)}.`, {
    hint: `\`muster catalog show\` shows what it has: ${[...workerTypes.keys(), ...models.keys()].join(", ")}.`,
  });
}

type ShownModel = ReturnType<typeof describeModel>;

function describeModel(model: CatalogModel, { workerTypes }: Catalog) {
  const { variants, ...rest } = model;
  const usedBy = [...workerTypes.values()].filter((type) => type.models.some((reference) => reference.model === model));
  return {
    ...rest,
    workerTypes: usedBy.map(({ id }) => id),
    variants: variants.map((variant) => ({
      ...variant,
      adapters: variant.adapters.map(({ id, variant: own }) => ({ ...own, id })),
      fits: smallestCard(variant, null, model.contextLength),
    })),
  };
}

function describeType(type: WorkerType) {
  const models = type.models.map(({ model, ...reference }) => ({ model: model.id, ...reference }));
  return { ...type, models, smallestMachine: smallestMachine(type) };
}

function modelTable(models: readonly ShownModel[]): string {
  const rows = models.map(({ id, task, license, gated, variants, workerTypes }) => [
    ...[id, task, `${license ?? "not said"}${gated ? ", gated" : ""}`],
    ...[
      variants
        .map(({ engine }) => engine)
        .filter(distinct)
        .join(", "),
      variants.map(size).join(", "),
    ],
    ...[variants.map(({ fits }) => card(fits)).join(", "), workerTypes.join(", ") || "none"],
  ]);
  return table([["MODEL", "TASK", "LICENCE", "ENGINE", "SIZE", "CARD", "WORKER TYPES"], ...rows]);
}

function typeTable(types: readonly WorkerType[]): string {
  const rows = types.map((type) => [
    ...[type.id, type.gpu, needs(type, smallestMachine(type))],
    ...[type.models.map(named).join(", "), slots(type), type.fallback ?? ""],
  ]);
  return table([
    ["WORKER TYPE", "GPU", "NEEDS AT LEAST", "MODELS (optional ones in brackets)", "SLOTS", "FALLBACK"],
    ...rows,
  ]);
}

function typeInWords(type: WorkerType, models: readonly ShownModel[]): string {
  const lines = [
    ["worker type", type.id],
    ["gpu", `${type.gpu}${type.minGpuMemoryGb > 0 ? `, cards of ${type.minGpuMemoryGb} GB and more` : ""}`],
    ["needs at least", needs(type, smallestMachine(type))],
    ["slots", slots(type) || "as many as engines take"],
    ["fallback", type.fallback ?? "none"],
    ...Object.entries(type.engineSettings).map(([name, value]) => ["engine setting", `${name}=${value}`]),
  ];
  const rows = type.models.map((reference) => [
    ...[`  ${reference.model.id}`, reference.optional ? "optional" : "required", conditions(reference)],
  ]);
  return `${table(lines)}\n${table(rows)}\n\n${modelTable(models)}`;
}

function modelInWords({ variants, ...model }: ShownModel): string {
  const lines = [
    ["model", model.id],
    ["task", model.task],
    ["licence", model.license ?? "not said"],
    ["gated", model.gated ? "yes: access has to be asked for at the source" : "no"],
    ["context", model.contextLength === null ? "as the source says" : `${model.contextLength} tokens`],
    ["worker types", model.workerTypes.join(", ") || "none"],
  ];
  const rows = variants.flatMap(({ fits, ...variant }) => [
    [
      ...[`  ${variant.id}`, variant.engine, [variant.format, variant.quantization].filter(Boolean).join(" ")],
      ...[size(variant), card(fits), fits.reason ?? (fits.needBytes === null ? "" : `needs ${bytes(fits.needBytes)}`)],
    ],
    ...variant.adapters.map(({ id, ...own }) => [`    ${id}`, "adapter", own.format, size(own), "", ""]),
  ]);
  return `${table(lines)}\n${table([["  VARIANT", "ENGINE", "FORMAT", "SIZE", "CARD", ""], ...rows])}`;
}

function size({ sizeBytes }: Pick<Variant, "sizeBytes">): string {
  return sizeBytes === null ? "?" : bytes(sizeBytes);
}

/** The smallest card that holds it with 8192 tokens, or as many as it takes. */
export function card({ gpuMemoryGb, gpuCount }: CardFit): string {
  if (gpuMemoryGb === null) return "?";
  return gpuCount === 1 ? `${gpuMemoryGb} GB` : `${gpuCount}×${gpuMemoryGb} GB`;
}

function slots(type: WorkerType): string {
  return Object.entries(type.slots)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(", ");
}

function named({ model, optional }: ModelReference): string {
  return optional ? `[${model.id}]` : model.id;
}

function conditions({ when, context, slots: own }: ModelReference): string {
  const words = Object.entries(when).map(([name, value]) => `${name} ${value}`);
  if (context !== null) words.push(`context ${context}`);
  if (own !== null) words.push(`${own} slots`);
  return words.join(", ");
}

function distinct<T>(value: T, index: number, all: readonly T[]): boolean {
  return all.indexOf(value) === index;
}
