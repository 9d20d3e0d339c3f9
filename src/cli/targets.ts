import { MusterError } from "../errors.ts";
import { namedModel } from "../select/named-models.ts";
import { type Catalog, type CatalogModel, findWorkerType, type WorkerType } from "../select/worker-types.ts";

/**
 * What `sync [type|model…]` and `plan [type|model…]` are about: a worker type, or single models as a worker type made
 * for the moment: of the catalog, or by a reference. Nothing given: WORKER_TYPE. Throws MODEL_UNKNOWN with what exists.
 */
export function targetType(names: string[], catalog: Catalog, configured: string | null): WorkerType {
  const [only] = names;
  if (only === undefined) return findWorkerType(catalog, configured);
  const type = catalog.workerTypes.get(only);
  if (type && names.length === 1) return type;
  const models = names.flatMap((name) => modelsOf(name, catalog));
  return {
    id: names.join(", "),
    gpu: "preferred",
    minGpuMemoryGb: 0,
    models: [...new Set(models)].map((model) => ({ model, optional: false, when: {}, context: null, slots: null })),
    fallback: null,
    slots: {},
    engineSettings: {},
  };
}

function modelsOf(name: string, catalog: Catalog): CatalogModel[] {
  const type = catalog.workerTypes.get(name);
  if (type) return type.models.map(({ model }) => model);
  const model = namedModel(name, catalog);
  if (model) return [model];
  const known = `worker types ${[...catalog.workerTypes.keys()].join(", ")}; models ${[...catalog.models.keys()].join(", ")}`;
  throw new MusterError("MODEL_UNKNOWN", `The catalog has no worker type and no model ${JSON.stringify(name)}.`, {
    hint: `It has: ${known}. Others by their source: hf:org/name[@revision], ollama:name[:tag], s3://bucket/folder.`,
  });
}
