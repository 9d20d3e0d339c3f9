import { toMusterError } from "../errors.ts";
import { isPickle } from "../fetch/choose-files.ts";
import { serverOf } from "../fetch/open-fetch.ts";
import { bytes } from "../fetch/progress-log.ts";
import { type InventoryEntry, isFixed, takeInventory } from "../store/inventory.ts";
import { createLayout } from "../store/layout.ts";
import { usedBytes } from "../store/used-bytes.ts";
import { diskSpace } from "../system.ts";
import { type CatalogUse, catalogIfReadable, catalogUses } from "./catalog-models.ts";
import { print, table } from "./output.ts";
import { serverEntry } from "./server-models.ts";
import { type GlobalOptions, setup } from "./setup.ts";
import { shortRevision, volumeBar, when } from "./volume-words.ts";

export type ListOrder = "name" | "size" | "used" | "fetched" | "source";

type ListedModel = ReturnType<typeof describe>;

/** `muster list`: the models on the volume, by their records, and those of a server that keeps models by itself. */
export async function list(options: GlobalOptions & { sort?: ListOrder }): Promise<number> {
  const { config, log } = setup({ logTo: "stderr", logFile: false, quiet: true });
  const layout = createLayout(config.modelCacheDir, config.hfHubCache, config.ollamaModels);
  const server = await serverOf(config);
  const atServer = (await server?.list().catch((error: unknown) => void log.warn(toMusterError(error).message))) ?? [];
  const elsewhere = atServer.map(serverEntry);
  const uses = catalogUses(await catalogIfReadable(config, log));
  const models = [...(await takeInventory(layout)), ...elsewhere]
    .map((entry) => describe(entry, uses.get(entry.model.key)))
    .toSorted(inOrder(options.sort ?? "name"));
  const own = models.filter(({ keptOf }) => keptOf === null);
  const total = own.reduce((sum, model) => sum + model.bytes, 0);
  const others = models.length - own.length;
  const { free, size } = await diskSpace(config.modelCacheDir);
  const volume = {
    path: config.modelCacheDir,
    sizeBytes: size,
    freeBytes: free,
    modelBytes: await usedBytes(layout.modelFolders),
    maxCacheBytes: config.maxCacheBytes,
  };
  print({ models, bytes: total, volume }, options, () =>
    [
      table([HEADS, ...models.map(row)]),
      `${own.length} models, ${bytes(total)} in ${config.modelCacheDir}${server ? ` and at ${server.name}` : ""}${others > 0 ? `; ${others} kept revision${others === 1 ? "" : "s"}` : ""}`,
      volumeBar(volume),
    ].join("\n"),
  );
  return 0;
}

/** A model of the volume as JSON shows it. */
export function describe({ model, complete, lastUsedAt, heldBy, pin }: InventoryEntry, use: CatalogUse | undefined) {
  const { key, source, location, requestedRevision, revision, bytes, files, license, storedAt, path } = model;
  const running = heldBy.flatMap(({ workerType }) => workerType ?? []);
  return {
    key,
    source,
    location,
    requestedRevision,
    revision,
    fixed: isFixed(model),
    /** Of a revision beside the model's own: since when it is kept, and the record of the model. */
    keptSince: model.kept?.since ?? null,
    keptOf: model.kept?.of ?? null,
    pinned: pin !== null,
    quantization: model.quantization ?? use?.variant.quantization ?? null,
    complete,
    bytes,
    files: files.length,
    license,
    /** Files whose loading can run code. */
    pickles: files.filter((file) => isPickle(file.path)).length,
    storedAt,
    lastUsedAt: new Date(lastUsedAt).toISOString(),
    /** Of this host's catalog and of workers that run. */
    workerTypes: [...new Set([...(use?.workerTypes ?? []), ...running])].toSorted(),
    heldBy,
    path,
  };
}

const HEADS = ["MODEL", "REVISION", "STATE", "QUANT", "SIZE", "FILES", "LICENCE", "FETCHED", "USED", "WORKER TYPES"];

function row(model: ListedModel): (string | number)[] {
  return [
    `${model.source}:${model.location}`,
    shortRevision(model),
    stateOf(model),
    model.quantization ?? "",
    bytes(model.bytes),
    model.files,
    model.license ?? "",
    when(model.storedAt),
    when(model.lastUsedAt),
    model.workerTypes.join(", "),
  ];
}

function stateOf({ complete, keptOf, pinned, heldBy, pickles }: ListedModel): string {
  const words = [
    ...(keptOf === null ? [] : ["kept"]),
    ...(complete && keptOf !== null ? [] : [complete ? "complete" : "incomplete"]),
    ...(pinned ? ["pinned"] : []),
    ...(heldBy.length > 0 ? ["in use"] : []),
    ...(pickles > 0 ? ["pickles"] : []),
  ];
  return words.join(", ");
}

/** Largest and latest first; by name where that is the same. */
function inOrder(order: ListOrder): (a: ListedModel, b: ListedModel) => number {
  const byName = (a: ListedModel, b: ListedModel) => a.location.localeCompare(b.location) || (a.key < b.key ? -1 : 1);
  const first = {
    name: byName,
    size: (a: ListedModel, b: ListedModel) => b.bytes - a.bytes,
    used: (a: ListedModel, b: ListedModel) => b.lastUsedAt.localeCompare(a.lastUsedAt),
    fetched: (a: ListedModel, b: ListedModel) => b.storedAt.localeCompare(a.storedAt),
    source: (a: ListedModel, b: ListedModel) => a.source.localeCompare(b.source),
  }[order];
  return (a, b) => first(a, b) || byName(a, b);
}
