import { expect, test } from "vitest";
import { runChaos } from "./chaos.ts";

test("every job ends once, whoever is killed and whatever is cut", { timeout: 240_000 }, async () => {
  const report = await runChaos({ jobs: 300, seed: 7 });
  expect(report).toMatchObject({ wrong: [], overlaps: [] });
  expect(report.done + Object.values(report.failed).reduce((sum, count) => sum + count, 0)).toBe(300);
  // Each can be tried a hundred times: one that fails for good has a reason of its own.
  expect(report.failed).toEqual({});
  expect(Object.keys(report.events).length).toBeGreaterThan(0);
});
