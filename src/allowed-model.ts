import { MusterError } from "./errors.ts";
import { type Engine, JOB_KINDS, takesKind } from "./model.ts";
import type { AskedModel } from "./remembered-models.ts";
import { policyRefusal } from "./select/model-policy.ts";
import { namedModel } from "./select/named-models.ts";
import type { Catalog, CatalogModel, WorkerType } from "./select/worker-types.ts";
import type { EngineUrls } from "./settings/engine.ts";
import type { ModelPolicy } from "./settings/policy.ts";

export interface Asking {
  modelPolicy: ModelPolicy;
  engineUrls: EngineUrls;
  catalog: Catalog;
  workerType: WorkerType;
}

/**
 * The model that a coordinator asks for, in the variants that this worker has an engine for. Throws MODEL_NOT_ALLOWED,
 * MODEL_UNKNOWN, or UNSUPPORTED where no job could ever reach it here.
 */
export function allowedModel(
  { reference, options }: AskedModel,
  { modelPolicy, engineUrls, catalog, workerType }: Asking,
): CatalogModel {
  const refusal = policyRefusal(reference, modelPolicy, catalog);
  if (refusal) throw refusal;
  const usualEngine: Engine | undefined = engineUrls.vllm || !engineUrls.openai ? undefined : "openai";
  const engine = options.engine ?? (reference.startsWith("ollama:") ? "ollama" : usualEngine);
  const model = namedModel(reference, catalog, { task: options.task, engine });
  if (!model) {
    throw new MusterError("MODEL_UNKNOWN", `${JSON.stringify(reference.slice(0, 200))} names no model.`, {
      hint: "Ask for an id of the worker's catalog (`muster plan` shows them), hf:org/name[@revision], ollama:name[:tag] or s3://bucket/folder.",
    });
  }
  const variants = model.variants.filter((variant) => engineUrls[variant.engine] !== null);
  if (variants.length === 0) {
    const kinds = [...new Set(model.variants.map((variant) => variant.engine))];
    throw new MusterError(
      "UNSUPPORTED",
      `This worker has no engine for ${model.id}, which is for ${kinds.join(", ")}.`,
      {
        hint: `Set ${kinds.map((kind) => `${kind.toUpperCase()}_URL`).join(" or ")}, or ask a worker that has one; \`muster doctor\` shows the engines.`,
      },
    );
  }
  if (!JOB_KINDS.some((kind) => workerType.slots[kind] && takesKind(model, kind))) {
    const slots = Object.keys(workerType.slots).join(", ") || "no";
    throw new MusterError(
      "UNSUPPORTED",
      `${model.id} is for ${model.task}; worker type ${workerType.id} takes ${slots} jobs.`,
      { hint: "Give the worker type `slots` of that kind in the catalog, or ask a worker of another type." },
    );
  }
  return { ...model, variants };
}
