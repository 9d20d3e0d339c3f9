import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { createMetrics } from "../../src/http/metrics.ts";
import { createStatusBoard, type StatusBoard } from "../../src/status.ts";

let board: StatusBoard;
let registry: ReturnType<typeof createMetrics>;
beforeEach(() => {
  board = createStatusBoard({ version: "1.2.3", workerId: "worker-1", bootId: "boot-1", workerType: "chat" });
  registry = createMetrics(board);
});

/** What prom-client knows of a metric, labels too, which its types keep to themselves. */
interface Described {
  name: string;
  help: string;
  type: string;
  labelNames: string[];
}

function described(): Described[] {
  const all = registry.getMetricsAsArray() as unknown as (Omit<Described, "type"> & {
    constructor: { name: string };
  })[];
  return all
    .filter(({ name }) => name.startsWith("muster_"))
    .map((metric) => {
      const { name, help, labelNames } = metric;
      return { name, help, labelNames, type: metric.constructor.name.toLowerCase() };
    });
}

describe("docs/metrics.md", () => {
  const text = readFileSync(join(import.meta.dirname, "../../docs/metrics.md"), "utf8");

  it("lists every metric with its type, labels and help, and no other", () => {
    const rows = [...text.matchAll(/^\| `(\w+)` \| (\w+) \| (.*?) \| (.+) \|$/gm)].map(
      ([, name, type, labels, help]) => {
        return { name, help, type, labelNames: [...labels!.matchAll(/`(\w+)`/g)].map(([, label]) => label) };
      },
    );
    const byName = (a: { name?: string }, b: { name?: string }) => (a.name! < b.name! ? -1 : 1);
    expect(rows.toSorted(byName)).toEqual(described().toSorted(byName));
  });

  it("holds names as Prometheus' rules have them", () => {
    for (const { name, type, help } of described()) {
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

it("tells of the volume what is known of it, and counts what happens there", async () => {
  const value = async (name: string) => (await registry.getSingleMetric(name)!.get()).values;
  expect(await value("muster_volume_free_bytes")).toEqual([]);
  board.setVolume({ sizeBytes: 100, freeBytes: 40, modelBytes: 50, models: 2 });
  expect(await value("muster_volume_free_bytes")).toMatchObject([{ value: 40 }]);
  expect(await value("muster_cache_bytes")).toMatchObject([{ value: 50 }]);
  expect(await value("muster_scrub_wrong_files")).toEqual([]);
  const scrub = {
    startedAt: "2026-01-01T00:00:00Z",
    finishedAt: "2026-01-01T00:01:00Z",
    checkedBytes: 9,
    wrongFiles: 1,
  };
  board.setVolume({ scrub: { ...scrub, isRunning: false } });
  expect(await value("muster_scrub_wrong_files")).toMatchObject([{ value: 1 }]);
  expect(await value("muster_scrub_finished_timestamp_seconds")).toMatchObject([{ value: 1767225660 }]);
  board.note({ type: "eviction" });
  board.note({ type: "verified", bytes: 9 });
  board.note({ type: "wrong-file", source: "ollama" });
  board.note({ type: "lease-wait", seconds: 2 });
  expect(await value("muster_evictions_total")).toMatchObject([{ value: 1 }]);
  expect(await value("muster_verified_bytes_total")).toMatchObject([{ value: 9 }]);
  expect(await value("muster_verify_failures_total")).toMatchObject([{ value: 1, labels: { source: "ollama" } }]);
  expect(await value("muster_lease_wait_seconds")).toContainEqual(
    expect.objectContaining({ metricName: "muster_lease_wait_seconds_sum", value: 2 }),
  );
});
