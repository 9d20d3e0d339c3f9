import { isFinal, type JobRecord } from "../jobs/job-record.ts";
import { dayOf, type JobStore } from "./job-store.ts";
import { assigned, ended, fits, kept, released, tokensIn } from "./kept-job.ts";

/** Jobs that last as long as the process. */
export function openMemoryStore(): JobStore {
  const jobs = new Map<string, JobRecord>();
  /** By client and day. */
  const tokens = new Map<string, number>();
  const change = (id: string, make: (job: JobRecord) => JobRecord | null) => {
    const job = jobs.get(id);
    const next = job ? make(job) : null;
    if (next) jobs.set(id, next);
    return next;
  };
  const count = (job: JobRecord) => {
    if (job.client === null) return;
    const key = `${dayOf(Date.now())} ${job.client}`;
    tokens.set(key, (tokens.get(key) ?? 0) + tokensIn(job));
  };
  return {
    async insert(job) {
      if (jobs.has(job.id)) return false;
      jobs.set(job.id, job);
      return true;
    },
    get: async (id) => jobs.get(id) ?? null,
    async list({ after, limit, ...filter }) {
      const all = [...jobs.values()].toReversed();
      const rest = after === undefined ? all : all.slice(all.findIndex(({ id }) => id === after) + 1 || all.length);
      return rest.filter((job) => fits(job, filter)).slice(0, limit);
    },
    unfinished: async () => [...jobs.values()].filter(({ state }) => !isFinal(state)),
    assign: async (id, workerId) => change(id, (job) => assigned(job, workerId)),
    release: async (id, attempt, as) => change(id, (job) => released(job, attempt, as)),
    async commit(id, attempt, outcome) {
      const whole = change(id, (job) => ended(job, attempt, outcome));
      if (!whole) return null;
      jobs.set(id, kept(whole));
      count(whole);
      return whole;
    },
    tokensOf: async (client, day) => tokens.get(`${day} ${client}`) ?? 0,
    async prune(before) {
      for (const [id, { finishedAt }] of jobs) if (finishedAt !== null && finishedAt < before) jobs.delete(id);
      const today = dayOf(Date.now());
      for (const key of tokens.keys()) if (!key.startsWith(today)) tokens.delete(key);
    },
    async close() {
      jobs.clear();
    },
  };
}
