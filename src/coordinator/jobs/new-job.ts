import { createHash } from "node:crypto";
import { MusterError } from "../../errors.ts";
import type { JobOutcome } from "../../job.ts";
import { JOB_ERRORS, type JobErrorCode } from "../../protocol.ts";
import { laneOf, type QueuedJob } from "./job-queue.ts";
import type { JobRecord } from "./job-record.ts";
import type { JobRequest } from "./jobs.ts";

export const JOB_DEFAULTS = { maxAttempts: 10, timeoutMs: 600_000 };

export function newJob(request: JobRequest, attended: boolean): JobRecord {
  const { kind, model, input, id = crypto.randomUUID(), client = null, stream = false, retrySafe = true } = request;
  const { maxAttempts = JOB_DEFAULTS.maxAttempts, priority = 0, keepInput = false, timeoutMs } = request;
  const { asked = model } = request;
  const now = Date.now();
  const said = { kind, model, input, stream, retrySafe, maxAttempts, priority, keepInput };
  return {
    ...{ id, client, attended, ...said },
    // What the same request has in common with itself; its deadline counts from when it came.
    digest: createHash("sha256")
      .update(JSON.stringify({ ...said, model: asked, timeoutMs }))
      .digest("hex"),
    createdAt: now,
    deadlineAt: now + (timeoutMs ?? JOB_DEFAULTS.timeoutMs),
    ...{ state: "queued", attempt: 0, failures: 0, workerId: null, outcome: null, finishedAt: null },
  };
}

/** The job that has the id already, where it is the same one. Throws JOB_EXISTS where not. */
export function sameJob(known: JobRecord, job: JobRecord): JobRecord {
  if (known.digest === job.digest && known.client === job.client) return known;
  throw new MusterError("JOB_EXISTS", `There is another job with the id ${JSON.stringify(job.id)}.`, {
    hint: "Use a new id, or a new Idempotency-Key, for each job: `uuidgen` makes one.",
  });
}

export function queuedJob(job: JobRecord, order: number): QueuedJob {
  const { id, kind, model, client, priority, attended, createdAt, deadlineAt, attempt } = job;
  return { id, lane: laneOf(job), kind, model, client, priority, attended, createdAt, deadlineAt, attempt, order };
}

export function failed(code: JobErrorCode, message: string): JobOutcome {
  const status = code === "CANCELLED" ? "cancelled" : "failed";
  return { status, error: { code, message, retryable: JOB_ERRORS[code].retryable } };
}
