import type { Figures } from "../measure.ts";
import type { ScenarioResult } from "./results.ts";

/** The middle one; of an even number the mean of the two in the middle. */
export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

export function percentile(numbers: readonly number[], percent: number): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))] ?? 0;
}

/** Medians of each tool's rounds, in the order of the tools. */
export function mediansOf(scenario: ScenarioResult): Map<string, Figures> {
  const byTool = Map.groupBy(scenario.runs, ({ tool }) => tool);
  return new Map(
    [...byTool].map(([tool, runs]) => [
      tool,
      {
        wall: median(runs.map(({ wall }) => wall)),
        cpu: median(runs.map(({ cpu }) => cpu)),
        rssMib: median(runs.map(({ rssMib }) => rssMib)),
      },
    ]),
  );
}
