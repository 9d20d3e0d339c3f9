import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { SCENARIOS } from "../scenarios.ts";
import { ROOT } from "../workplace.ts";

/** What is kept of the measurements, in docs/benchmarks.json; docs/benchmarks.md is made from it. */

const run = z.object({ tool: z.string(), round: z.number(), wall: z.number(), cpu: z.number(), rssMib: z.number() });
const origin = z.object({ date: z.string(), commit: z.string() });
const scenarioResult = origin.extend({
  name: z.string(),
  title: z.string(),
  about: z.string(),
  rounds: z.number(),
  runs: z.array(run),
  /** Tools that were left out, and why. */
  missing: z.array(z.object({ tool: z.string(), why: z.string() })),
});
const agentResult = origin.extend({
  starts: z.array(z.object({ registeredMs: z.number() })),
  rssMib: z.number(),
});
const jobsRound = z.object({
  /** What the agent adds to a small job, and to each piece of a long answer: medians. */
  overheadMsPerJob: z.number(),
  overheadMsPerChunk: z.number(),
  jobsPerSecond: z.number(),
  /** While a download and streams run. */
  beatLatenessP50Ms: z.number(),
  beatLatenessP99Ms: z.number(),
  downloadMibPerSecond: z.number(),
  peakRssMib: z.number(),
});
const jobsResult = origin.extend({ rounds: z.array(jobsRound) });
const imagesRound = z.object({
  /** A container of the image that does nothing: what the container engine itself takes. */
  emptyMs: z.number(),
  livezMs: z.number(),
  registeredMs: z.number(),
  restRssMib: z.number(),
  stopMs: z.number(),
});
const imagesResult = origin.extend({
  layerBytes: z.number(),
  rounds: z.array(imagesRound),
  /** Peak of `muster sync` in a container of 512 MiB that fetches 2 GiB. */
  fetchingRssMib: z.number(),
});
const dispatch = z.object({
  /** From request to answer, of a worker that takes no time. */
  dispatchP50Ms: z.number(),
  dispatchP99Ms: z.number(),
  jobsPerSecond: z.number(),
});
const fleetRound = dispatch.extend({
  /** Of one core, while all workers beat and nothing else happens. */
  cpuShare: z.number(),
  rssKibPerWorker: z.number(),
});
const fleetResult = origin.extend({ workers: z.number(), rounds: z.array(fleetRound) });
/** Gateways that share NATS. */
const gatewaysRound = z.object({ one: dispatch, two: dispatch });
const gatewaysResult = origin.extend({ server: z.string(), workers: z.number(), rounds: z.array(gatewaysRound) });
const results = z.object({
  /** Hardware and versions, in words. */
  machine: z.string(),
  scenarios: z.array(scenarioResult),
  agent: agentResult.nullable(),
  jobs: jobsResult.nullable().default(null),
  images: imagesResult.nullable().default(null),
  fleet: fleetResult.nullable().default(null),
  gateways: gatewaysResult.nullable().default(null),
});

export type Run = z.infer<typeof run>;
export type Origin = z.infer<typeof origin>;
export type ScenarioResult = z.infer<typeof scenarioResult>;
export type AgentResult = z.infer<typeof agentResult>;
export type JobsRound = z.infer<typeof jobsRound>;
export type JobsResult = z.infer<typeof jobsResult>;
export type ImagesRound = z.infer<typeof imagesRound>;
export type ImagesResult = z.infer<typeof imagesResult>;
export type FleetRound = z.infer<typeof fleetRound>;
export type FleetResult = z.infer<typeof fleetResult>;
export type GatewaysRound = z.infer<typeof gatewaysRound>;
export type GatewaysResult = z.infer<typeof gatewaysResult>;
export type Results = z.infer<typeof results>;

const ORDER: readonly string[] = SCENARIOS;
export const KEPT_FIGURES = join(ROOT, "docs", "benchmarks.json");
export const DOCUMENT = join(ROOT, "docs", "benchmarks.md");

export const NOTHING: Omit<Results, "machine"> = {
  ...{ scenarios: [], agent: null, jobs: null, images: null, fleet: null, gateways: null },
};

/** What a bench has measured; parts that others measure may be left out. */
export type Fresh = Pick<Results, "machine"> & Partial<Results>;

/** The kept figures, with those measured now in place of older ones. Figures of another machine are dropped. */
export async function mergeWithKept({ machine, ...fresh }: Fresh): Promise<Results> {
  const text = await readFile(KEPT_FIGURES, "utf8").catch(() => null);
  const found = text === null ? null : results.parse(JSON.parse(text));
  const kept = found?.machine === machine ? found : { ...NOTHING, machine };
  const names = new Set(fresh.scenarios?.map(({ name }) => name));
  const scenarios = [...kept.scenarios.filter(({ name }) => !names.has(name)), ...(fresh.scenarios ?? [])];
  scenarios.sort((a, b) => ORDER.indexOf(a.name) - ORDER.indexOf(b.name));
  const { agent, jobs, images, fleet, gateways } = kept;
  return {
    machine,
    scenarios,
    agent: fresh.agent ?? agent,
    jobs: fresh.jobs ?? jobs,
    images: fresh.images ?? images,
    fleet: fresh.fleet ?? fleet,
    gateways: fresh.gateways ?? gateways,
  };
}

export async function writeResults(path: string, value: Results): Promise<void> {
  await writeFile(path, `${JSON.stringify(value, null, 2)}\n`);
}
