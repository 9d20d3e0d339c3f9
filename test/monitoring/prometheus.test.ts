import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempDisposableSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startCoordinator } from "../../src/coordinator/coordinator.ts";
import { startHttp } from "../../src/http/server.ts";
import { createStatusBoard } from "../../src/status.ts";
import { quietLog } from "../register/worker.ts";
import { until } from "../until.ts";

const FOLDER = join(import.meta.dirname, "../../docker/monitoring");
const missing = spawnSync("prometheus", ["--version"]).status !== 0;
const why = missing
  ? " (skipped: prometheus is not installed; apt-get install --no-install-recommends prometheus)"
  : "";

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  return port;
}

interface Target {
  health: string;
  lastError: string;
  labels: { job: string };
}

test.skipIf(missing)(`Prometheus reads coordinator and worker as docker/monitoring/ has it${why}`, async () => {
  await using coordinator = await startCoordinator({
    ...{ host: "127.0.0.1", port: 0, workerToken: "worker-token", clientToken: null, adminToken: "admin-token" },
    log: quietLog,
  });
  const board = createStatusBoard({ version: "1.2.3", workerId: "worker-1", bootId: "boot-1", workerType: "chat" });
  const agent = await startHttp({ port: 0, host: "127.0.0.1", board, log: quietLog });
  using folder = mkdtempDisposableSync(join(tmpdir(), "muster-prometheus-"));
  const inside = (...path: string[]) => join(folder.path, ...path);
  cpSync(FOLDER, folder.path, { recursive: true });
  writeFileSync(inside("token"), "admin-token\n");
  const config = readFileSync(inside("prometheus.yml"), "utf8")
    .replace("/run/secrets/prometheus-token", inside("token"))
    // Nobody is looked up here.
    .replace(/ {4}#[^\n]*\n {4}dns_sd_configs:\n(?: {6}.*\n)+/, "")
    .replaceAll("15s", "200ms");
  expect(config).not.toContain("dns");
  writeFileSync(inside("prometheus.yml"), config);
  writeFileSync(inside("targets/coordinators.yml"), `- targets: ["127.0.0.1:${coordinator.port}"]\n`);
  writeFileSync(inside("targets/workers.yml"), `- targets: ["127.0.0.1:${agent.port}"]\n`);
  const port = await freePort();
  const child = spawn("prometheus", [
    ...[`--config.file=${inside("prometheus.yml")}`, `--storage.tsdb.path=${inside("data")}`],
    `--web.listen-address=127.0.0.1:${port}`,
  ]);
  let said = "";
  child.stderr.on("data", (data: Buffer) => {
    said += data.toString();
  });
  const exit = once(child, "exit");
  const ask = async (path: string) => {
    const answer = await fetch(`http://127.0.0.1:${port}/api/v1/${path}`).catch(() => null);
    return answer?.ok ? ((await answer.json()) as { data: Record<string, unknown> }).data : null;
  };
  try {
    const targets = await until(`Prometheus has asked both: ${said}`, async () => {
      const { activeTargets = [] } = ((await ask("targets")) ?? {}) as { activeTargets?: Target[] };
      return activeTargets.length === 2 && activeTargets.every(({ health }) => health !== "unknown") && activeTargets;
    });
    const seen = targets.map(({ labels, health, lastError }) => [labels.job, health, lastError]).toSorted();
    expect(seen).toEqual([
      ["muster-coordinator", "up", ""],
      ["muster-worker", "up", ""],
    ]);
    await until("both are known by their metrics", async () => {
      const found = await ask(`query?query=${encodeURIComponent("muster_info or muster_coordinator_info")}`);
      return (found?.result as unknown[] | undefined)?.length === 2;
    });
  } finally {
    child.kill();
    await exit;
    await agent.close();
  }
});
