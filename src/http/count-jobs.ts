import { Counter, Histogram, type Registry } from "prom-client";
import type { StatusBoard } from "../status.ts";

const SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

/** What ended is told once, so it is counted here rather than read off the board. */
export function countJobs(board: StatusBoard, registry: Registry): void {
  const registers = [registry];
  const labelNames = ["kind", "model"] as const;
  const ended = new Counter({
    name: "muster_jobs_total",
    help: "Jobs that ended, by how: done, or the code of the error.",
    labelNames: [...labelNames, "outcome"],
    registers,
  });
  const tokens = new Counter({
    name: "muster_job_tokens_total",
    help: "Tokens of jobs that were done, as the engines counted them.",
    labelNames: [...labelNames, "type"],
    registers,
  });
  const seconds = (name: string, help: string) =>
    new Histogram({ name, help, labelNames, buckets: SECONDS, registers });
  const duration = seconds("muster_job_duration_seconds", "From the start of a job that was done to its end.");
  const firstToken = seconds("muster_job_first_token_seconds", "From the start of a streamed job to its first piece.");
  board.onChange((event) => {
    if (event.kind !== "job" || !event.end) return;
    const { kind, model } = event.job;
    const { status, error, usage = {}, timings = {} } = event.end;
    ended.inc({ kind, model, outcome: error?.code ?? status });
    for (const type of ["prompt", "completion"]) {
      const count = usage[`${type}_tokens`] ?? 0;
      // An engine may say anything, and a counter that is given less than nothing throws.
      if (count > 0) tokens.inc({ kind, model, type }, count);
    }
    if (timings.first_token_ms !== undefined) firstToken.observe({ kind, model }, timings.first_token_ms / 1000);
    if (status === "done" && timings.total_ms !== undefined) duration.observe({ kind, model }, timings.total_ms / 1000);
  });
}
