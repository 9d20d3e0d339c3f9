import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { startCoordinator } from "../../src/coordinator/coordinator.ts";
import { createLogger } from "../../src/log.ts";
import { settle } from "./measure.ts";
import type { AgentResult } from "./report/results.ts";
import type { Bench } from "./run-scenario.ts";
import { musterCommand } from "./tools/muster.ts";
import type { Task } from "./tools/tool.ts";

const REST_MS = 10_000;

/** From exec to the coordinator's welcome with everything on the volume, and memory at rest. */
export async function measureAgent(bench: Bench, setName: string): Promise<AgentResult> {
  const { place, rounds, scratch } = bench;
  const folder = join(place.folder, "agent");
  const endpoint = `http://127.0.0.1:${bench.nginx.ports.plain}`;
  const task: Task = { set: bench.sets.get(setName)!, endpoint, folder, scratch, authority: null };
  await settle(place, folder);
  const sync = await musterCommand(task, "sync");
  await place.run(sync.argv, { env: sync.env });
  const log = createLogger({ level: "silent", format: "text", fd: 2, file: null });
  const listen = { host: "127.0.0.1", port: 0, workerToken: null, clientToken: null };
  await using coordinator = await startCoordinator({ ...listen, log });
  const { argv, env } = await musterCommand(task, "start");
  const starts: AgentResult["starts"] = [];
  let rssMib = 0;
  for (let round = 1; round <= rounds; round += 1) {
    const child = place.start(argv, {
      env: { ...env, HTTP_PORT: "0", COORDINATOR_URL: coordinator.wsUrl },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const startedAt = performance.now();
    const ended = once(child, "exit");
    for await (const line of createInterface({ input: child.stdout! })) {
      if (line.includes("Registered with the coordinator")) break;
    }
    if (child.exitCode !== null) throw new Error(`the agent ended with ${child.exitCode} before it had registered`);
    starts.push({ registeredMs: Math.round(performance.now() - startedAt) });
    bench.say(`agent, round ${round} of ${rounds}: registered after ${starts.at(-1)?.registeredMs} ms`);
    if (round === rounds) {
      await sleep(REST_MS, undefined, { signal: place.signal });
      const status = await readFile(`/proc/${child.pid}/status`, "utf8");
      rssMib = Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024);
    }
    child.kill("SIGTERM");
    await ended;
  }
  return { ...bench.origin, starts, rssMib };
}
