import { isFinal, type JobRecord } from "../jobs/job-record.ts";
import type { JobStore } from "./job-store.ts";

/** Jobs that last as long as the process. */
export function openMemoryStore(): JobStore {
  const jobs = new Map<string, JobRecord>();
  const change = (id: string, fits: (job: JobRecord) => boolean, changed: Partial<JobRecord>) => {
    const job = jobs.get(id);
    if (!job || isFinal(job.state) || !fits(job)) return null;
    const next = { ...job, ...changed };
    jobs.set(id, next);
    return next;
  };
  return {
    insert(job) {
      if (jobs.has(job.id)) return false;
      jobs.set(job.id, job);
      return true;
    },
    get: (id) => jobs.get(id) ?? null,
    unfinished: () => [...jobs.values()].filter(({ state }) => !isFinal(state)),
    assign(id, workerId) {
      const attempt = (jobs.get(id)?.attempt ?? 0) + 1;
      return change(id, ({ state }) => state === "queued", { state: "assigned", attempt, workerId });
    },
    release(id, attempt, { failed }) {
      const failures = (jobs.get(id)?.failures ?? 0) + Number(failed);
      const fits = (job: JobRecord) => job.state === "assigned" && job.attempt === attempt;
      return change(id, fits, { state: "queued", workerId: null, failures }) !== null;
    },
    commit: (id, attempt, outcome) =>
      change(id, (job) => job.attempt === attempt, {
        state: outcome.status,
        workerId: null,
        outcome,
        finishedAt: Date.now(),
      }) !== null,
    close: () => jobs.clear(),
  };
}
