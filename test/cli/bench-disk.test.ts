import { readdirSync } from "node:fs";
import { expect, it } from "vitest";
import { judge } from "../../src/cli/bench-disk.ts";
import type { DiskMeasures } from "../../src/store/measure-disk.ts";
import { place, runMuster, startMuster } from "../e2e/muster.ts";
import { mountTmpfs } from "../store/mount.ts";
import { until } from "../until.ts";

const left = (volume: string) => readdirSync(volume).filter((name) => name.startsWith(".muster-doctor"));

it("measures the volume, and leaves nothing there", async () => {
  using here = place();
  const { code, stdout } = await runMuster(["bench-disk", "--size", "20MB", "--json"], here.env);
  expect(code).toBe(0);
  const { checks, writeRate, readRate, syncMs } = JSON.parse(stdout);
  expect(Math.min(writeRate, readRate, syncMs.median)).toBeGreaterThan(0);
  expect(syncMs.worst).toBeGreaterThanOrEqual(syncMs.median);
  expect(checks.map(({ name }: { name: string }) => name)).toEqual(["write", "read", "sync", "rename", "lease"]);
  expect(readdirSync(here.volume)).toEqual([]);
  const text = await runMuster(["bench-disk", "--size", "1MB"], here.env);
  expect(text.stdout).toMatch(/^(ok {3}|warn )write {8}.+\/s: a model of 40\.0 GB is fetched in .+ at best\n/);
});

it("leaves nothing when it is interrupted in the middle", async () => {
  using here = place();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    await using bench = startMuster(["bench-disk", "--size", "20GB"], here.env);
    await until("it is at work", () => left(here.volume).length > 0, 20_000);
    bench.kill(signal);
    expect(await bench.exited).toMatchObject({ code: 75, stderr: expect.stringContaining("CANCELLED") });
    expect(left(here.volume)).toEqual([]);
  }
});

it("writes nothing where there is no room for it, or no volume", async ({ skip }) => {
  const volume = mountTmpfs(1 << 20, skip);
  using here = place({ MODEL_CACHE_DIR: volume });
  const full = await runMuster(["bench-disk", "--size", "1MB"], here.env);
  expect(full).toMatchObject({ code: 75, stderr: expect.stringMatching(/DISK_FULL: .+\nhint .+--size 100MB/) });
  const absent = await runMuster(["bench-disk", "--size", "1MB"], { ...here.env, MODEL_CACHE_DIR: `${volume}/none` });
  expect(absent).toMatchObject({ code: 64, stderr: expect.stringContaining("does not exist") });
});

it("says what a slow disk means", () => {
  const quick = { median: 1, worst: 2 };
  const fast: DiskMeasures = {
    ...{ writeRate: 1e9, readRate: 2e9, readsDisk: true },
    ...{ syncMs: quick, renameMs: quick, leaseMs: quick },
  };
  expect(judge(fast).map(({ result }) => result)).toEqual(["ok", "ok", "ok", "ok", "ok"]);
  expect(judge(fast)[0]?.found).toBe("1.0 GB/s: a model of 40.0 GB is fetched in 40 s at best");
  const slow = { median: 300, worst: 900 };
  const all = judge({ writeRate: 5e7, readRate: 1e8, readsDisk: true, syncMs: slow, renameMs: slow, leaseMs: slow });
  expect(all.map(({ result }) => result)).toEqual(["warn", "warn", "warn", "warn", "warn"]);
  expect(all[1]?.hint).toContain("muster warm");
  // What came from memory says nothing of the disk.
  expect(judge({ ...fast, readRate: 1e8, readsDisk: false })[1]).toMatchObject({
    result: "ok",
    found: expect.stringContaining("past the page cache"),
  });
});
