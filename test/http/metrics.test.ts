import { beforeEach, expect, it } from "vitest";
import { createMetrics } from "../../src/http/metrics.ts";
import { createStatusBoard, type StatusBoard } from "../../src/status.ts";

let board: StatusBoard;
let registry: ReturnType<typeof createMetrics>;
beforeEach(() => {
  board = createStatusBoard({ version: "1.2.3", workerId: "worker-1", bootId: "boot-1", workerType: "chat" });
  registry = createMetrics(board);
});

it("counts what is fetched", async () => {
  const value = async (name: string) => (await registry.getSingleMetric(name)!.get()).values;
  const source = "s3" as const;
  board.note({ type: "fetch", source, event: { type: "bytes", outcome: "fetched", bytes: 7 } });
  board.note({ type: "fetch", source, event: { type: "bytes", outcome: "shared", bytes: 5 } });
  board.note({ type: "fetch", source, event: { type: "retry", code: "STALLED" } });
  board.note({ type: "fetch", source, event: { type: "end", outcome: "stored", seconds: 3 } });
  board.note({ type: "fetch", source, event: { type: "end", outcome: "DISK_FULL", seconds: 9 } });
  expect(await value("muster_fetch_bytes_total")).toMatchObject([
    { value: 7, labels: { source, outcome: "fetched" } },
    { value: 5, labels: { source, outcome: "shared" } },
  ]);
  expect(await value("muster_fetch_retries_total")).toMatchObject([{ value: 1, labels: { source, code: "STALLED" } }]);
  expect(await value("muster_fetches_total")).toMatchObject([
    { value: 1, labels: { outcome: "stored" } },
    { value: 1, labels: { outcome: "DISK_FULL" } },
  ]);
  expect(await value("muster_fetch_duration_seconds")).toContainEqual(
    expect.objectContaining({ metricName: "muster_fetch_duration_seconds_sum", value: 3 }),
  );
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
