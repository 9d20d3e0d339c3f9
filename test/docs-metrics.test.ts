import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { describedMetrics } from "./described-metrics.ts";

const text = readFileSync(join(import.meta.dirname, "../docs/metrics.md"), "utf8");
const [agentText = "", coordinatorText = ""] = text.split(/^# The coordinator's$/m);
const all = describedMetrics();
const ours = (side: keyof typeof all) => all[side].filter(({ name }) => name.startsWith("muster_"));

describe.each([
  { side: "agent", part: agentText },
  { side: "coordinator", part: coordinatorText },
] as const)("docs/metrics.md, $side", ({ side, part }) => {
  it("lists every metric with its type, labels and help, and no other", () => {
    const rows = [...part.matchAll(/^\| `(\w+)` \| (\w+) \| (.*?) \| (.+) \|$/gm)].map(
      ([, name, type, labels, help]) => {
        return { name, help, type, labelNames: [...labels!.matchAll(/`(\w+)`/g)].map(([, label]) => label) };
      },
    );
    const byName = (a: { name?: string }, b: { name?: string }) => (a.name! < b.name! ? -1 : 1);
    expect(rows.length).toBeGreaterThan(20);
    expect(rows.toSorted(byName)).toEqual(ours(side).toSorted(byName));
  });

  it("holds names as Prometheus' rules have them", () => {
    for (const { name, type, help } of ours(side)) {
      expect(name).toMatch(/^[a-z][a-z0-9_]*$/);
      // A counter says so, and nothing else does; units are base units; histograms leave their suffixes to Prometheus.
      expect({ name, isTotal: name.endsWith("_total") }).toEqual({ name, isTotal: type === "counter" });
      expect(name).not.toMatch(
        /_(ms|milliseconds|minutes|kb|mib|megabytes|percent|count|sum|bucket|gauge|counter)(_|$)/,
      );
      expect(help).toMatch(/^[A-Z0-9].+\.$/);
    }
  });
});

it("no name is used by both sides", () => {
  const names = new Set(ours("agent").map(({ name }) => name));
  expect(ours("coordinator").filter(({ name }) => names.has(name) || !name.startsWith("muster_coordinator_"))).toEqual(
    [],
  );
});

it("no label of the coordinator's has values without bound", () => {
  const bounded = ["became", "code", "kind", "method", "operation", "outcome", "route", "state", "status", "type"];
  expect(new Set(ours("coordinator").flatMap(({ labelNames }) => labelNames))).toEqual(
    new Set([...bounded, "version"]),
  );
});
