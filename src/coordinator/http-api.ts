import type { IncomingMessage, ServerResponse } from "node:http";
import type { CoordinatorPayload } from "../protocol.ts";
import { type Answer, notFound, only } from "./api-answer.ts";
import { apiError, UNAUTHORIZED } from "./api-error.ts";
import { isAuthorized } from "./authorize.ts";
import type { Dispatcher } from "./jobs/dispatcher.ts";
import { cancelJob, showJob, submitJob } from "./jobs-api.ts";
import type { ModelRequests } from "./model-requests.ts";
import { handleModels, isModelsPath } from "./models-api.ts";
import type { WorkerRegistry } from "./worker-registry.ts";

const COMMANDS = new Map<string, CoordinatorPayload>([
  ["drain", { t: "drain" }],
  ["pause", { t: "pause" }],
  ["resume", { t: "resume" }],
  ["sync", { t: "models.sync" }],
]);

export interface ApiContext {
  registry: WorkerRegistry;
  dispatcher: Dispatcher;
  models: ModelRequests;
  clientToken: string | null;
  maxBody: number;
}

/** The coordinator's side for operators and programs: workers and what to tell them, jobs and what became of them. */
export function handleRequest(request: IncomingMessage, response: ServerResponse, context: ApiContext): void {
  Promise.resolve()
    .then(() => answer(request, context))
    .then(
      ({ status, body, headers }) => {
        // What of the request nobody has read.
        request.resume();
        response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store", ...headers });
        response.end(`${JSON.stringify(body)}\n`);
      },
      // The request broke off.
      () => response.destroy(),
    );
}

function answer(request: IncomingMessage, context: ApiContext): Answer | Promise<Answer> {
  const path = (request.url ?? "/").split("?")[0]!;
  if (path === "/livez") return only("GET", request, () => ({ status: 200, body: { status: "ok" } }));
  if (!isAuthorized(request, context.clientToken)) {
    return { status: 401, body: UNAUTHORIZED, headers: { "www-authenticate": "Bearer" } };
  }
  if (isModelsPath(path)) return handleModels(request, path, context);
  const match = /^\/v1\/(workers|jobs)(?:\/([^/]+)(?:\/([^/]+))?)?$/.exec(path);
  if (!match) return notFound(`There is no ${path}.`);
  const [, what, segment, command] = match;
  const id = segment === undefined ? undefined : decoded(segment);
  if (what === "jobs") return job(request, { context, id, command });
  if (id === undefined) return only("GET", request, () => list(context.registry));
  return worker(request, { registry: context.registry, id, command });
}

function job(
  request: IncomingMessage,
  { context, id, command }: { context: ApiContext; id: string | undefined; command: string | undefined },
): Answer | Promise<Answer> {
  if (id === undefined) return only("POST", request, () => submitJob(request, context));
  if (command === undefined) return only("GET", request, () => showJob(id, context));
  if (command === "cancel") return only("POST", request, () => cancelJob(id, context));
  return notFound(`There is no command ${command}; there is cancel.`);
}

function list(registry: WorkerRegistry): Answer {
  return { status: 200, body: { object: "list", data: registry.list() } };
}

function worker(
  request: IncomingMessage,
  { registry, id, command }: { registry: WorkerRegistry; id: string; command: string | undefined },
): Answer | Promise<Answer> {
  const view = registry.get(id);
  const payload = COMMANDS.get(command ?? "");
  if (!view) return notFound(`There is no worker ${id}.`);
  if (command === undefined) return only("GET", request, () => ({ status: 200, body: view }));
  if (!payload) return notFound(`There is no command ${command}; there are ${[...COMMANDS.keys()].join(", ")}.`);
  return only("POST", request, () =>
    registry.send(id, payload)
      ? { status: 202, body: { object: "worker.command", id, command } }
      : { status: 409, body: apiError("worker_disconnected", `The worker ${id} is not connected.`) },
  );
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
