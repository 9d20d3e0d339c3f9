import { expect, test } from "vitest";
import { withoutNats } from "../../coordinator/nats/nats-server.ts";
import { runChaos } from "./chaos.ts";

test("every job ends once, whoever is killed and whatever is cut", { timeout: 240_000 }, async () => {
  const report = await runChaos({ jobs: 300, seed: 7 });
  expect(report).toMatchObject({ wrong: [], overlaps: [] });
  expect(report.done + Object.values(report.failed).reduce((sum, count) => sum + count, 0)).toBe(300);
  // Each can be tried a hundred times: one that fails for good has a reason of its own.
  expect(report.failed).toEqual({});
  expect(Object.keys(report.events).length).toBeGreaterThan(0);
});

test("nor when it is gateways and nats-server that are killed", { timeout: 240_000 }, async ({ skip }) => {
  skip(withoutNats, "nats-server is not installed");
  const report = await runChaos({ jobs: 150, seed: 11, store: "nats", troubleMs: 12_000 });
  expect(report).toMatchObject({ wrong: [], overlaps: [], failed: {}, done: 150 });
  expect(Object.keys(report.events).length).toBeGreaterThan(0);
});
