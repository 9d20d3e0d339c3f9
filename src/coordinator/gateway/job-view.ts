import type { JobRecord } from "../jobs/job-record.ts";

/** A job as the HTTP API shows it. Times are RFC 3339. */
export function jobView(job: JobRecord) {
  const { id, kind, model, state, attempt, workerId, outcome } = job;
  return {
    object: "job",
    ...{ id, kind, model, state, attempt, workerId },
    createdAt: time(job.createdAt),
    deadlineAt: time(job.deadlineAt),
    finishedAt: job.finishedAt === null ? null : time(job.finishedAt),
    output: outcome?.output ?? null,
    error: outcome?.error ?? null,
    usage: outcome?.usage ?? null,
    timings: outcome?.timings ?? null,
  };
}

function time(ms: number): string {
  return new Date(ms).toISOString();
}
