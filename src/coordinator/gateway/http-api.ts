import type { IncomingMessage, ServerResponse } from "node:http";
import type { CoordinatorPayload } from "../../protocol.ts";
import { fleetJobsQuery, listFleetJobs, watchFleet } from "../dashboard/fleet-api.ts";
import type { FleetFeed } from "../dashboard/fleet-feed.ts";
import type { PageFiles } from "../dashboard/page-files.ts";
import type { Jobs } from "../jobs/jobs.ts";
import type { WorkerRegistry } from "../workers/worker-registry.ts";
import { type Answer, notFound, only } from "./answer.ts";
import { apiError, UNAUTHORIZED } from "./api-error.ts";
import { isAuthorized } from "./authorize.ts";
import { cancelJob, showJob, submitJob } from "./jobs-api.ts";

const COMMANDS = new Map<string, CoordinatorPayload>([
  ["drain", { t: "drain" }],
  ["pause", { t: "pause" }],
  ["resume", { t: "resume" }],
  ["sync", { t: "models.sync" }],
]);

export interface ApiContext {
  registry: WorkerRegistry;
  jobs: Jobs;
  feed: FleetFeed;
  page: PageFiles;
  clientToken: string | null;
  maxBody: number;
}

/** The coordinator's side for operators and programs: workers and what to tell them, jobs and what became of them. */
export function handleRequest(request: IncomingMessage, response: ServerResponse, context: ApiContext): void {
  Promise.resolve()
    .then(() => answer(request, { response, ...context }))
    .then(
      (given) => {
        // It has answered by itself.
        if (given === null) return;
        const { status, body, headers } = given;
        // What of the request nobody has read.
        request.resume();
        response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store", ...headers });
        response.end(`${JSON.stringify(body)}\n`);
      },
      // The request broke off.
      () => response.destroy(),
    );
}

type Request = ApiContext & { response: ServerResponse };

function answer(request: IncomingMessage, context: Request): Answer | null | Promise<Answer | null> {
  const url = new URL(request.url ?? "/", "http://coordinator");
  const path = url.pathname;
  const isRead = request.method === "GET" || request.method === "HEAD";
  if (isRead && context.page.has(path) && context.page.answer(request, context.response, path)) return null;
  if (path === "/livez") return only("GET", request, () => ({ status: 200, body: { status: "ok" } }));
  if (!isAuthorized(request, context.clientToken)) {
    return { status: 401, body: UNAUTHORIZED, headers: { "www-authenticate": "Bearer" } };
  }
  if (path === "/v1/fleet/events") return watch(request, context);
  if (path === "/v1/fleet/jobs") return only("GET", request, () => fleetJobs(url, context));
  const match = /^\/v1\/(workers|jobs)(?:\/([^/]+)(?:\/([^/]+))?)?$/.exec(path);
  if (!match) return notFound(`There is no ${path}.`);
  const [, what, segment, command] = match;
  const id = segment === undefined ? undefined : decoded(segment);
  if (what === "jobs") return job(request, { context, id, command });
  if (id === undefined) return only("GET", request, () => list(context.registry));
  return worker(request, { registry: context.registry, id, command });
}

async function watch(request: IncomingMessage, { response, feed }: Request): Promise<Answer | null> {
  if (request.method !== "GET") return only("GET", request, () => notFound(""));
  await watchFleet(request, response, feed);
  return null;
}

async function fleetJobs({ searchParams }: URL, { jobs }: ApiContext): Promise<Answer> {
  const query = fleetJobsQuery.safeParse(Object.fromEntries(searchParams));
  if (!query.success) return { status: 400, body: apiError("invalid_request", query.error.issues[0]?.message ?? "") };
  return { status: 200, body: await listFleetJobs(query.data, jobs) };
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
