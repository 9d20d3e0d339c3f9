import { Counter, Histogram, type Registry } from "prom-client";
import type { ErrorCode } from "../../errors.ts";
import { isFinal, type JobRecord } from "../jobs/job-record.ts";
import type { WorkerView } from "../workers/worker-view.ts";
import type { Tally } from "./tally.ts";

const SECONDS = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];
const STORE_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** A request that was answered, or left by its client. */
export interface AnsweredRequest {
  method: string;
  /** As the table of routes has it; "none" where there is no such route. */
  route: string;
  status: number;
  seconds: number;
}

export interface Counters extends Tally {
  /** A job is new, or has another state. */
  job(job: JobRecord): void;
  workerLost(type: WorkerView["workerType"]): void;
  request(request: AnsweredRequest): void;
  refused(code: ErrorCode): void;
}

/** What is told once and counted here. Labels have few values: kinds, codes, routes, types of workers, never an id or a model. */
export function createCounters(registry: Registry, typeLabel: (type: string) => string): Counters {
  const counter = <L extends string>(name: string, help: string, labelNames: L[]) =>
    new Counter({ name: `muster_coordinator_${name}`, help, labelNames, registers: [registry] });
  const histogram = <L extends string>(name: string, help: string, labelNames: L[], buckets = SECONDS) =>
    new Histogram({ name: `muster_coordinator_${name}`, help, labelNames, buckets, registers: [registry] });

  const taken = counter("jobs_taken_total", "Jobs that were taken in.", ["kind"]);
  const offers = counter("offers_total", "Offers of jobs to workers.", ["kind"]);
  const rejections = counter("rejections_total", "Offers that workers turned down, by why.", ["kind", "code"]);
  const losses = counter("lease_losses_total", "Jobs whose worker was silent for too long, or lost them.", ["kind"]);
  const retries = counter("retries_total", "Attempts that failed or were lost and are followed by another.", [
    "kind",
    "code",
  ]);
  const ended = counter("jobs_total", "Jobs that ended, by how: done, or the code of the error.", ["kind", "outcome"]);
  const results = counter("results_total", "Results that workers brought: committed, failed or late.", ["became"]);
  const workersLost = counter("workers_lost_total", "Workers that fell silent and did not come back in time.", [
    "type",
  ]);
  const refused = counter("http_refusals_total", "Requests that were refused, by the code of the error.", ["code"]);
  const wait = histogram("job_queue_seconds", "From the taking of a job to its first offer.", ["kind"]);
  const run = histogram("job_run_seconds", "From a worker's acceptance of a job that was done to its end.", ["kind"]);
  const whole = histogram("job_duration_seconds", "From the taking of a job that was done to its end.", ["kind"]);
  const requests = histogram("http_request_duration_seconds", "From a request to the end of its answer.", [
    ...(["method", "route", "status"] as const),
  ]);
  const stored = histogram("store_seconds", "Operations of the store of jobs.", ["operation"], STORE_SECONDS);

  return {
    job({ kind, state, attempt, createdAt, finishedAt, outcome }) {
      const since = (Date.now() - createdAt) / 1000;
      if (state === "queued" && attempt === 0) taken.inc({ kind });
      if (state === "assigned") offers.inc({ kind });
      if (state === "assigned" && attempt === 1) wait.observe({ kind }, Math.max(0, since));
      if (!isFinal(state)) return;
      ended.inc({ kind, outcome: outcome?.error?.code ?? state });
      if (state === "done") whole.observe({ kind }, Math.max(0, ((finishedAt ?? Date.now()) - createdAt) / 1000));
    },
    workerLost: (type) => workersLost.inc({ type: typeLabel(type) }),
    rejected: (kind, code) => rejections.inc({ kind, code }),
    leaseLost: (kind) => losses.inc({ kind }),
    retried: (kind, code) => retries.inc({ kind, code }),
    ran: (kind, seconds) => run.observe({ kind }, seconds),
    result: (became) => results.inc({ became }),
    stored: (operation, seconds) => stored.observe({ operation }, seconds),
    request: ({ method, route, status, seconds }) =>
      requests.observe({ method, route, status: String(status) }, seconds),
    refused: (code) => refused.inc({ code }),
  };
}
