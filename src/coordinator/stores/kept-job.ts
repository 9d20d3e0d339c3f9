import type { JobOutcome } from "../../job.ts";
import { isFinal, type JobRecord } from "../jobs/job-record.ts";
import type { JobFilter } from "../jobs/jobs.ts";

/** The rules of a store, of whatever kind: what a change makes of a record, or null where it may not happen. */

export function assigned(job: JobRecord, workerId: string): JobRecord | null {
  return job.state === "queued" ? { ...job, state: "assigned", attempt: job.attempt + 1, workerId } : null;
}

export function released(job: JobRecord, attempt: number, { failed }: { failed: boolean }): JobRecord | null {
  if (job.state !== "assigned" || job.attempt !== attempt) return null;
  return { ...job, state: "queued", workerId: null, failures: job.failures + Number(failed) };
}

export function fits(job: JobRecord, { client, state, endedAt }: Omit<JobFilter, "after" | "limit">): boolean {
  return (
    (client === undefined || job.client === client) &&
    (state === undefined || job.state === state) &&
    (endedAt === undefined || (job.workerId === endedAt && isFinal(job.state)))
  );
}

/** The whole record. What is kept of it: {@link kept}. */
export function ended(job: JobRecord, attempt: number, outcome: JobOutcome): JobRecord | null {
  if (isFinal(job.state) || job.attempt !== attempt) return null;
  return { ...job, state: outcome.status, outcome, finishedAt: Date.now() };
}

export function kept(job: JobRecord): JobRecord {
  const { output: _, ...rest } = job.outcome ?? { status: "done" };
  return {
    ...job,
    input: job.keepInput ? job.input : null,
    outcome: job.attended && job.outcome ? rest : job.outcome,
  };
}

export function tokensIn({ outcome }: JobRecord): number {
  return outcome?.usage?.total_tokens ?? 0;
}
