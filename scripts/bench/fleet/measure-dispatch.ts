import { all, oneByOne } from "../jobs/at-once.ts";
import { percentile } from "../report/medians.ts";
import { AT_ONCE, type BenchClient } from "./client.ts";

const WARM_UP = 200;
const JOBS = 1_000;
const MANY_JOBS = 5_000;

export interface Dispatch {
  /** From request to answer, one after the other, of a worker that takes no time. */
  dispatchP50Ms: number;
  dispatchP99Ms: number;
  /** 64 at once. */
  jobsPerSecond: number;
}

/** How fast jobs go through. `share`: of the usual numbers of jobs, for a trial. */
export async function measureDispatch({ ask }: BenchClient, share = 1): Promise<Dispatch> {
  const of = (count: number) => Math.ceil(count * share);
  await oneByOne(of(WARM_UP), ask);
  const took = await oneByOne(of(JOBS), ask);
  const startedAt = performance.now();
  await all(of(MANY_JOBS), AT_ONCE, ask);
  const jobsPerSecond = of(MANY_JOBS) / ((performance.now() - startedAt) / 1000);
  return { dispatchP50Ms: percentile(took, 50), dispatchP99Ms: percentile(took, 99), jobsPerSecond };
}
