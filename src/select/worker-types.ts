import { MusterError } from "../errors.ts";
import type { Adapter, JobKind, OcrPrompts, Task, Variant } from "../model.ts";
import { type CatalogFile, mergedEntries, readCatalogFiles } from "./catalog-file.ts";
import {
  type AdapterEntry,
  type Condition,
  LOCATION_FIELDS,
  type ModelEntry,
  type VariantEntry,
  type WorkerTypeEntry,
} from "./catalog-schema.ts";

export interface CatalogModel {
  id: string;
  task: Task;
  license: string | null;
  gated: boolean;
  contextLength: number | null;
  prompts: OcrPrompts;
  variants: Variant[];
}

export interface ModelReference {
  model: CatalogModel;
  optional: boolean;
  when: Condition;
  context: number | null;
  /** Concurrent jobs on this model; null: those of the worker type. */
  slots: number | null;
}

export interface WorkerType {
  id: string;
  gpu: "required" | "preferred" | "none";
  minGpuMemoryGb: number;
  models: ModelReference[];
  fallback: string | null;
  slots: Partial<Record<JobKind, number>>;
  engineSettings: Record<string, string | number | boolean>;
}

export interface Catalog {
  models: Map<string, CatalogModel>;
  workerTypes: Map<string, WorkerType>;
}

/** Reads the catalog and its overlay. Throws CATALOG_INVALID that names file, line, field, what was found and what is allowed. */
export async function readCatalog(file: string, overlay: string | null): Promise<Catalog> {
  return linkCatalog(await readCatalogFiles(file, overlay));
}

/** The worker type of that id, or WORKER_TYPE_UNKNOWN with those that exist; USAGE where an option names it. */
export function findWorkerType(catalog: Catalog, id: string | null, option?: `--${string}`): WorkerType {
  const known = [...catalog.workerTypes.keys()].join(", ");
  if (!id) {
    throw new MusterError(
      "WORKER_TYPE_MISSING",
      "WORKER_TYPE is not set, so this worker does not know what to serve.",
      {
        hint: `Set WORKER_TYPE to one of: ${known}.`,
      },
    );
  }
  const found = catalog.workerTypes.get(id);
  if (found) return found;
  throw new MusterError(
    option ? "USAGE" : "WORKER_TYPE_UNKNOWN",
    `${option ?? "WORKER_TYPE"} is ${JSON.stringify(id)}, which the catalog does not have.`,
    {
      hint: `${option ? `Give ${option}` : "Set WORKER_TYPE to"} one of: ${known}.`,
    },
  );
}

/** What files that hold together say, the later ones over the earlier. */
export function linkCatalog(files: readonly CatalogFile[]): Catalog {
  const { models, workerTypes } = mergedEntries(files);
  const linkedModels = new Map(Object.entries(models).map(([id, entry]) => [id, toModel(id, entry)]));
  const linkedTypes = Object.entries(workerTypes).map(([id, entry]): [string, WorkerType] => [
    id,
    {
      ...entry,
      id,
      fallback: entry.fallback ?? null,
      models: entry.models.map((reference) => toReference(reference, linkedModels)),
    },
  ]);
  return { models: linkedModels, workerTypes: new Map(linkedTypes) };
}

function toReference(reference: WorkerTypeEntry["models"][number], models: Map<string, CatalogModel>): ModelReference {
  const full =
    typeof reference === "string"
      ? { model: reference, optional: false, when: {}, context: undefined, slots: undefined }
      : reference;
  const model = models.get(full.model);
  if (!model) throw new Error(`unlinked model ${full.model}`);
  return { model, optional: full.optional, when: full.when, context: full.context ?? null, slots: full.slots ?? null };
}

function toModel(id: string, entry: ModelEntry): CatalogModel {
  const { task, license, gated, contextLength, prompts } = entry;
  const variants = entry.variants.map((variant) => toVariant(variant, entry.sizeBytes));
  const seen = new Map<string, number>();
  for (const variant of variants) {
    const times = (seen.get(variant.id) ?? 0) + 1;
    seen.set(variant.id, times);
    if (times > 1) variant.id = `${variant.id}#${times}`;
  }
  return { id, task, license, gated, contextLength, prompts, variants };
}

function toVariant(entry: VariantEntry, modelSize: number | null): Variant {
  const { id, repo: _repo, name: _name, url: _url, path: _path, format, adapters, ...rest } = entry;
  const variant = {
    ...rest,
    location: locationOf(entry),
    id: id ?? usualId(entry),
    format: format ?? (entry.source === "ollama" ? "gguf" : "safetensors"),
    sizeBytes: entry.sizeBytes ?? modelSize,
    adapters: [],
  };
  return { ...variant, adapters: adapters.map((adapter) => toAdapter(adapter, variant)) };
}

/** What training writes beside the adapter, each with an adapter of its own. */
const CHECKPOINTS = "checkpoint-*/**";

function toAdapter(entry: AdapterEntry, { engine, minGpuMemoryGb, gpuCount }: Variant): Adapter {
  const { source, revision, format = "safetensors", include, exclude, allowPickle, sizeBytes } = entry;
  const variant: Variant = {
    ...{ source, revision, format, include, allowPickle, sizeBytes, engine, minGpuMemoryGb, gpuCount },
    id: usualId(entry),
    location: locationOf(entry),
    exclude: include.length === 0 ? [...exclude, CHECKPOINTS] : exclude,
    quantization: null,
    architecture: null,
    adapters: [],
  };
  return { id: entry.name, license: entry.license, variant };
}

type Located = Pick<VariantEntry, "source" | "repo" | "name" | "url" | "path" | "revision">;

function locationOf(entry: Located): string {
  return entry[LOCATION_FIELDS[entry.source]] ?? "";
}

function usualId(entry: Located): string {
  const revision = entry.source === "huggingface" && entry.revision !== "main" ? `@${entry.revision}` : "";
  return `${entry.source}:${locationOf(entry)}${revision}`;
}
