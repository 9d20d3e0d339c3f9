import type { IncomingMessage, ServerResponse } from "node:http";
import type { Registry } from "prom-client";
import type { Logger } from "../../log.ts";
import type { WorkerDirectory } from "../backend.ts";
import type { FleetFeed } from "../dashboard/fleet-feed.ts";
import type { Jobs } from "../jobs/jobs.ts";
import type { ModelRequests } from "../models/model-requests.ts";
import type { Caller } from "./access/access.ts";
import type { Limits } from "./access/limits.ts";
import type { KnownModels } from "./known-models.ts";

/** What a request is answered with; the body as JSON. */
export interface Answer {
  status: number;
  body: unknown;
  headers?: Record<string, string>;
}

/** What handlers work with. */
export interface Gateway {
  jobs: Jobs;
  registry: WorkerDirectory;
  models: ModelRequests;
  known: KnownModels;
  limits: Limits;
  feed: FleetFeed;
  metrics: Pick<Registry, "metrics" | "contentType">;
  /** Nobody has to show anything. */
  isOpen: () => boolean;
  /** Bytes that a request may have: what fits into a message to a worker. */
  maxBody: number;
  /** Between signs of life on a stream that has nothing to say. */
  keepAliveMs: number;
  log: Logger;
  /** Why no jobs can be taken just now; null where they can. */
  trouble(): string | null;
}

/** One request that may be answered. */
export interface Call {
  request: IncomingMessage;
  response: ServerResponse;
  url: URL;
  /** Of the path, decoded. */
  params: Record<string, string>;
  caller: Caller;
  gateway: Gateway;
}

/** Null: it has answered by itself. */
export type Handle = (call: Call) => Answer | null | Promise<Answer | null>;
