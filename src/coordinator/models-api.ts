import type { IncomingMessage } from "node:http";
import * as z from "zod";
import { ENGINES, TASKS } from "../model.ts";
import { parseReference, showReference } from "../model-reference.ts";
import { type Answer, notFound, only } from "./api-answer.ts";
import { apiError } from "./api-error.ts";
import { jsonOf, readBody } from "./jobs-api.ts";
import type { ModelRequests } from "./model-requests.ts";
import type { WorkerRegistry } from "./worker-registry.ts";

const PATH = "/v1/models";

const modelRequest = z.strictObject({
  /** A reference; with `source`, what the source calls it. */
  model: z.string().min(1).max(512),
  source: z.enum(["huggingface", "ollama", "s3"]).optional(),
  revision: z.string().min(1).optional(),
  task: z.enum(TASKS).optional(),
  engine: z.enum(ENGINES).optional(),
  context: z.int().positive().optional(),
  workers: z.array(z.string().min(1)).min(1).optional(),
  worker_type: z.string().min(1).optional(),
  count: z.int().min(1).max(1_000).optional(),
});
type Body = z.output<typeof modelRequest>;

interface ModelsContext {
  registry: WorkerRegistry;
  models: ModelRequests;
  maxBody: number;
}

export function isModelsPath(path: string): boolean {
  return path === PATH || path.startsWith(`${PATH}/`);
}

/** `POST /v1/models`, and `GET` and `DELETE /v1/models/:id`, whose id may have slashes. */
export function handleModels(request: IncomingMessage, path: string, context: ModelsContext): Answer | Promise<Answer> {
  if (path === PATH) return only("POST", request, () => askFor(request, context));
  const name = decoded(path.slice(PATH.length + 1));
  if (request.method === "DELETE") return remove(name, context);
  return only("GET", request, () => {
    const found = context.models.get(name);
    return found ? { status: 200, body: found } : noModel(name);
  });
}

async function askFor(request: IncomingMessage, { registry, models, maxBody }: ModelsContext): Promise<Answer> {
  const text = await readBody(request, maxBody);
  if (text === null)
    return { status: 413, body: apiError("payload_too_large", `A request may have ${maxBody} bytes.`) };
  const parsed = modelRequest.safeParse(jsonOf(text));
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const where = issue?.path.join(".");
    return invalid(`${where ? `${where}: ` : ""}${issue?.message}`);
  }
  const body = parsed.data;
  const { task, engine, context, workers = null, worker_type: workerType = null, count } = body;
  const reference = referenceOf(body);
  if (reference === null)
    return invalid(
      "model: allowed are an id of the workers' catalog, hf:org/name[@revision], ollama:name[:tag] and s3://bucket/folder",
    );
  if (workers && (workerType !== null || count !== undefined))
    return invalid("workers: names them all; worker_type and count are for a choice among all");
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
  return { status: 202, body: view, headers: { location: `${PATH}/${encodeURIComponent(view.id)}` } };
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

function remove(name: string, { models }: ModelsContext): Answer {
  const removal = models.remove(name);
  return removal ? { status: 202, body: { object: "model.removal", ...removal } } : noModel(name);
}

function invalid(message: string): Answer {
  return { status: 400, body: apiError("invalid_request", message) };
}

function noModel(name: string): Answer {
  return notFound(`No worker has a model ${name}, and nobody asked for it.`);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
