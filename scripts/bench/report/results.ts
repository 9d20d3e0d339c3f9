import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
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
const results = z.object({
  /** Hardware and versions, in words. */
  machine: z.string(),
  scenarios: z.array(scenarioResult),
  agent: agentResult.nullable(),
});

export type Run = z.infer<typeof run>;
export type Origin = z.infer<typeof origin>;
export type ScenarioResult = z.infer<typeof scenarioResult>;
export type AgentResult = z.infer<typeof agentResult>;
export type Results = z.infer<typeof results>;

export const KEPT_FIGURES = join(ROOT, "docs", "benchmarks.json");
export const DOCUMENT = join(ROOT, "docs", "benchmarks.md");

/** The kept figures, with those of scenarios measured now in place of older ones. Figures of another machine are dropped. */
export async function mergeWithKept(fresh: Results, order: readonly string[]): Promise<Results> {
  const text = await readFile(KEPT_FIGURES, "utf8").catch(() => null);
  const kept = text === null ? null : results.parse(JSON.parse(text));
  if (kept?.machine !== fresh.machine) return fresh;
  const names = new Set(fresh.scenarios.map(({ name }) => name));
  const scenarios = [...kept.scenarios.filter(({ name }) => !names.has(name)), ...fresh.scenarios];
  scenarios.sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  return { machine: fresh.machine, scenarios, agent: fresh.agent ?? kept.agent };
}

export async function writeResults(path: string, value: Results): Promise<void> {
  await writeFile(path, `${JSON.stringify(value, null, 2)}\n`);
}
