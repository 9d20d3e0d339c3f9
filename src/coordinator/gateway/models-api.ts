import * as z from "zod";
import { ENGINES, TASKS } from "../../model.ts";
import { parseReference, showReference } from "../../model-reference.ts";
import type { Answer, Call } from "./answer.ts";
import { apiError, notFound } from "./api-error.ts";
import { readJson } from "./read-body.ts";
import { refusal } from "./refusal.ts";
import { servedModel } from "./served-models.ts";

export const modelRequest = z
  .strictObject({
    model: z.string().min(1).max(512).meta({ description: "A reference; with `source`, what the source calls it" }),
    source: z.enum(["huggingface", "ollama", "s3"]).optional(),
    revision: z.string().min(1).optional(),
    task: z.enum(TASKS).optional(),
    engine: z.enum(ENGINES).optional(),
    context: z.int().positive().optional(),
    workers: z.array(z.string().min(1)).min(1).optional().meta({ description: "Just these" }),
    worker_type: z.string().min(1).optional(),
    count: z.int().min(1).max(1_000).optional().meta({ description: "Workers that shall have it; default 1" }),
  })
  .meta({ title: "ModelRequest" });
type Body = z.output<typeof modelRequest>;

/** `POST /v1/models`: has workers fetch a model. */
export async function askForModel(call: Call): Promise<Answer> {
  const { registry, models } = call.gateway;
  const body = await readJson(call, modelRequest);
  const { task, engine, context, workers = null, worker_type: workerType = null, count } = body;
  const reference = referenceOf(body);
  if (reference === null)
    throw invalid(
      "model: allowed are an id of the workers' catalog, hf:org/name[@revision], ollama:name[:tag] and s3://bucket/folder",
    );
  if (workers && (workerType !== null || count !== undefined))
    throw invalid("workers: names them all; worker_type and count are for a choice among all");
  const unknown = workers?.find((id) => registry.get(id) === null);
  if (unknown !== undefined) return notFound(`There is no worker ${unknown}.`);
  const view = models.submit({
    ...{ model: reference, workers: workers && [...new Set(workers)], workerType, count: count ?? 1 },
    options: { ...(task && { task }), ...(engine && { engine }), ...(context && { context }) },
  });
  if (!view) {
    const which = workerType === null ? "" : ` of type ${workerType}`;
    return { status: 409, body: apiError("no_worker", `No worker${which} is connected that could be asked.`) };
  }
  return { status: 202, body: view, headers: { location: `/v1/models/${encodeURIComponent(view.id)}` } };
}

/** `GET /v1/models/{model}`: in OpenAI's form, with how far the workers are with it. */
export function showModel(call: Call): Answer {
  const { caller, gateway, params } = call;
  const name = params.model ?? "";
  const view = gateway.models.get(name);
  if (!view || !caller.mayUse([view.id, name])) return noModel(name);
  const { workers, ...shown } = view;
  // Who the workers are is for administrators.
  return { status: 200, body: { ...servedModel(call, view), ...shown, ...(caller.isAdmin && { workers }) } };
}

/** `DELETE /v1/models/{model}` */
export function removeModel({ gateway, params: { model = "" } }: Call): Answer {
  const removal = gateway.models.remove(model);
  return removal ? { status: 202, body: { object: "model.removal", ...removal } } : noModel(model);
}

/** Null where it is none. */
function referenceOf({ model, source, revision }: Body): string | null {
  if (!source) {
    const named = parseReference(revision === undefined ? model : `${model}@${revision}`);
    // What looks like an id of a catalog is for the workers to judge.
    return named ? showReference(named) : revision === undefined ? model : null;
  }
  const scheme = { huggingface: "hf:", ollama: "ollama:", s3: "" }[source];
  const named = parseReference(`${scheme}${model}${revision === undefined ? "" : `@${revision}`}`);
  return named?.source === source ? showReference(named) : null;
}

function invalid(message: string) {
  return refusal("INVALID_INPUT", message, "Correct the request: GET /openapi.json tells what is taken.");
}

function noModel(name: string): Answer {
  const message = `No worker has a model ${name}, and nobody asked for it.`;
  return { status: 404, body: apiError("model_not_found", message) };
}
