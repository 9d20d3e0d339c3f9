import type { Job, JobOutcome } from "../job.ts";
import type { Logger } from "../log.ts";

const SHOWN_CHARACTERS = 500;

/**
 * One line for a job that ended. A failure's message may repeat what was asked, so without `payloads` it stands with
 * whoever sent the job only.
 */
export function logJob(
  log: Logger,
  { job, model, outcome }: { job: Job; model: string; outcome: JobOutcome },
  payloads: boolean,
): void {
  const { status, error, usage, timings, output } = outcome;
  const { jobId, attempt, kind, input } = job;
  const facts = { jobId, attempt, kind, model, ...timings, ...usage, ...(error ? { code: error.code } : {}) };
  const level = payloads ? "info" : status === "failed" ? "warn" : "debug";
  const content = payloads ? { input: shorten(input), output: shorten(output), message: error?.message } : {};
  log[level]({ ...facts, ...content }, `Job ${status}`);
}

/** Images and embeddings would fill the log. */
function shorten(value: unknown): string | undefined {
  try {
    const text = JSON.stringify(value, (_key, part: unknown) =>
      typeof part === "string" && part.length > SHOWN_CHARACTERS ? `${part.slice(0, SHOWN_CHARACTERS)}…` : part,
    );
    return text?.slice(0, 4 * SHOWN_CHARACTERS);
  } catch {
    return "nested too deep to be shown";
  }
}
