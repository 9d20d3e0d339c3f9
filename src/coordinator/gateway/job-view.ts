import * as z from "zod";
import { JOB_KINDS } from "../../model.ts";
import { JOB_STATES, type JobRecord } from "../jobs/job-record.ts";

const time = z.iso.datetime();

/** A job as the HTTP API shows it. */
export const jobSchema = z
  .object({
    object: z.literal("job"),
    id: z.string(),
    kind: z.enum(JOB_KINDS),
    model: z.string(),
    state: z.enum(JOB_STATES),
    priority: z.int(),
    client: z.string().nullable().meta({ description: "Name of the key that it came with" }),
    attempt: z.int().meta({ description: "How often it was offered to a worker" }),
    workerId: z.string().nullable().meta({ description: "Who has it, or had it as it ended" }),
    createdAt: time,
    deadlineAt: time,
    finishedAt: time.nullable(),
    output: z.unknown().meta({ description: "Of a job that is done; not kept of those that were answered at once" }),
    error: z.object({ code: z.string(), message: z.string(), retryable: z.boolean() }).nullable(),
    usage: z.record(z.string(), z.number()).nullable(),
    timings: z.record(z.string(), z.number()).nullable().meta({ description: "Milliseconds" }),
  })
  .meta({ title: "Job" });

export function jobView(job: JobRecord): z.output<typeof jobSchema> {
  const { id, kind, model, state, priority, client, attempt, workerId, outcome } = job;
  return {
    object: "job",
    ...{ id, kind, model, state, priority, client, attempt, workerId },
    createdAt: shown(job.createdAt),
    deadlineAt: shown(job.deadlineAt),
    finishedAt: job.finishedAt === null ? null : shown(job.finishedAt),
    output: outcome?.output ?? null,
    error: outcome?.error ?? null,
    usage: outcome?.usage ?? null,
    timings: outcome?.timings ?? null,
  };
}

function shown(ms: number): string {
  return new Date(ms).toISOString();
}
