import type * as z from "zod";
import { fleetJobsQuery, listFleetJobs, watchFleet } from "../dashboard/fleet-api.ts";
import { servePage } from "../dashboard/page-files.ts";
import type { Handle } from "./answer.ts";
import { jobSchema } from "./job-view.ts";
import { cancelJob, followJob, jobQuery, jobRequest, listJobs, retryJob, showJob, submitJob } from "./jobs-api.ts";
import { showMetrics } from "./metrics-api.ts";
import { askForModel, modelRequest, removeModel, showModel } from "./models-api.ts";
import { answerJob } from "./openai/answer-job.ts";
import { chatRequest, completionRequest, embeddingRequest, ocrRequest } from "./openai/requests.ts";
import { listModels } from "./served-models.ts";
import { COMMANDS, commandWorker, listWorkers, showWorker } from "./workers-api.ts";

/** One thing that the gateway does; the OpenAPI document is made of these. */
export interface Route {
  method: "GET" | "POST" | "DELETE";
  /** With {parameters}. */
  path: string;
  /** Who may: anyone, whoever shows a key, or an administrator. */
  access: "anyone" | "client" | "admin";
  summary: string;
  /** For people, or for Prometheus: no part of the OpenAPI document. */
  isPage?: true;
  body?: z.ZodType;
  query?: z.ZodObject;
  /** Values that a parameter of the path may have. */
  values?: Record<string, readonly string[]>;
  /** The last parameter takes the rest of the path, slashes and all. */
  takesRest?: true;
  /** Status and what the answer is, without those that every route may have. */
  answers: Record<number, { description: string; schema?: z.ZodType; events?: boolean }>;
  handle: Handle;
}

const job = { description: "The job", schema: jobSchema };
const noJob = { description: "There is no such job" };
const waits = {
  429: {
    description: "The queue is full, or the key has reached one of its limits; Retry-After says when to come back",
  },
  502: { description: "The engine or the worker broke down, as often as it was tried" },
  503: { description: "Nobody can do it just now; Retry-After" },
  504: { description: "Its time was over" },
};
const noModel = { 404: { description: "No worker has the model" } };

export const ROUTES: readonly Route[] = [
  {
    ...{ method: "GET", path: "/livez", access: "anyone", summary: "Whether the coordinator is alive" },
    answers: { 200: { description: "It is" } },
    handle: () => ({ status: 200, body: { status: "ok" } }),
  },
  {
    ...{ method: "GET", path: "/readyz", access: "anyone", summary: "Whether the coordinator takes jobs now" },
    answers: { 200: { description: "It does" }, 503: { description: "What keeps the jobs is out of reach" } },
    handle: ({ gateway }) => {
      const reason = gateway.trouble();
      return reason === null
        ? { status: 200, body: { status: "ok" } }
        : { status: 503, body: { status: "unavailable", reason } };
    },
  },
  {
    ...{ method: "GET", path: "/metrics", access: "admin", summary: "Metrics for Prometheus", isPage: true },
    answers: { 200: { description: "Prometheus' text format" } },
    handle: showMetrics,
  },
  {
    ...{ method: "GET", path: "/", access: "anyone", summary: "The dashboard", isPage: true },
    answers: { 200: { description: "A page; it asks for the token" } },
    handle: servePage,
  },
  {
    ...{
      method: "GET",
      path: "/assets/{name}",
      access: "anyone",
      summary: "What the dashboard is made of",
      isPage: true,
    },
    answers: { 200: { description: "The file" }, 404: { description: "There is no such file" } },
    handle: servePage,
  },
  {
    ...{ method: "POST", path: "/v1/chat/completions", access: "client", summary: "A chat, whole or in pieces" },
    body: chatRequest,
    answers: { 200: { description: "A chat.completion, or its chunks", events: true }, ...noModel, ...waits },
    handle: answerJob("chat"),
  },
  {
    ...{ method: "POST", path: "/v1/completions", access: "client", summary: "A completion, whole or in pieces" },
    body: completionRequest,
    answers: { 200: { description: "A text_completion, or its chunks", events: true }, ...noModel, ...waits },
    handle: answerJob("completion"),
  },
  {
    ...{ method: "POST", path: "/v1/embeddings", access: "client", summary: "The vectors of texts" },
    body: embeddingRequest,
    answers: { 200: { description: "The list of embeddings" }, ...noModel, ...waits },
    handle: answerJob("embedding"),
  },
  {
    ...{ method: "POST", path: "/v1/ocr", access: "client", summary: "The text of images, whole or page by page" },
    body: ocrRequest,
    answers: { 200: { description: "{ text, pages, usage }, or its pages", events: true }, ...noModel, ...waits },
    handle: answerJob("ocr"),
  },
  {
    ...{ method: "GET", path: "/v1/models", access: "client", summary: "The models of the workers" },
    answers: { 200: { description: "The list of models" } },
    handle: listModels,
  },
  {
    ...{ method: "POST", path: "/v1/models", access: "admin", summary: "Has workers fetch a model" },
    body: modelRequest,
    answers: {
      202: { description: "The model, and how far the workers are" },
      404: { description: "There is no such worker" },
      409: { description: "No worker could be asked" },
    },
    handle: askForModel,
  },
  {
    ...{ method: "DELETE", path: "/v1/models/{model}", access: "admin", summary: "Has workers remove a model" },
    takesRest: true,
    answers: { 202: { description: "Who was told" }, ...noModel },
    handle: removeModel,
  },
  {
    ...{ method: "GET", path: "/v1/models/{model}", access: "client", summary: "One model" },
    takesRest: true,
    answers: { 200: { description: "The model" }, ...noModel },
    handle: showModel,
  },
  {
    ...{ method: "POST", path: "/v1/jobs", access: "client", summary: "Takes a job, to be done when a worker is free" },
    body: jobRequest,
    answers: { 202: job, 422: { description: "The id or the Idempotency-Key is another job's" }, 429: waits[429] },
    handle: submitJob,
  },
  {
    ...{ method: "GET", path: "/v1/jobs", access: "client", summary: "The jobs of this key, newest first" },
    query: jobQuery,
    answers: { 200: { description: "{ object: list, data: jobs, first_id, last_id, has_more }" } },
    handle: listJobs,
  },
  {
    ...{ method: "GET", path: "/v1/jobs/{id}", access: "client", summary: "One job" },
    answers: { 200: job, 404: noJob },
    handle: showJob,
  },
  {
    ...{ method: "GET", path: "/v1/jobs/{id}/events", access: "client", summary: "What becomes of a job" },
    answers: { 200: { description: "Events state, chunk and end", events: true }, 404: noJob },
    handle: followJob,
  },
  {
    ...{ method: "POST", path: "/v1/jobs/{id}/cancel", access: "client", summary: "Ends a job" },
    answers: { 202: job, 404: noJob },
    handle: cancelJob,
  },
  {
    ...{ method: "POST", path: "/v1/jobs/{id}/retry", access: "client", summary: "Does a job that failed anew" },
    answers: { 202: job, 404: noJob, 409: { description: "It has not failed, or its input was not kept" } },
    handle: retryJob,
  },
  {
    ...{ method: "GET", path: "/v1/workers", access: "admin", summary: "The workers" },
    answers: { 200: { description: "The list of workers" } },
    handle: listWorkers,
  },
  {
    ...{ method: "GET", path: "/v1/workers/{id}", access: "admin", summary: "One worker" },
    answers: { 200: { description: "The worker" }, 404: { description: "There is no such worker" } },
    handle: showWorker,
  },
  {
    ...{ method: "POST", path: "/v1/workers/{id}/{command}", access: "admin", summary: "Tells a worker what to do" },
    values: { command: Object.keys(COMMANDS) },
    answers: {
      202: { description: "It was told" },
      404: { description: "There is no such worker, or command" },
      409: { description: "It is not connected" },
    },
    handle: commandWorker,
  },
  {
    ...{ method: "GET", path: "/v1/fleet/events", access: "admin", summary: "The fleet, and what changes of it" },
    answers: { 200: { description: "Events hello, change and complete; at most one change a second", events: true } },
    handle: watchFleet,
  },
  {
    ...{ method: "GET", path: "/v1/fleet/jobs", access: "admin", summary: "Jobs of all keys, without their contents" },
    query: fleetJobsQuery,
    answers: { 200: { description: "{ object: list, data: jobs }, newest first" } },
    handle: listFleetJobs,
  },
];
