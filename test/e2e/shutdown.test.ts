import { once } from "node:events";
import { chmodSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { until } from "../until.ts";
import { isRunning } from "./is-running.ts";
import { type Muster, type Place, place, runMuster, startMuster } from "./muster.ts";
import { closedPort, holdWeights, startMiniLmHub, startTestCoordinator } from "./services.ts";

async function terminated(agent: Muster) {
  agent.kill("SIGTERM");
  const { code, stdout, stderr } = await agent.exited;
  expect(stderr).toBe("");
  return {
    code,
    lastLines: stdout
      .trimEnd()
      .split("\n")
      .slice(-2)
      .map((line) => line.replace(/^\S+ /, "")),
  };
}

const CLEAN = { code: 0, lastLines: ["INFO  Draining: told to stop", "INFO  Stopped"] };

test.concurrent("in the middle of a download", async ({ expect }) => {
  await using hub = await startMiniLmHub(12 << 20);
  await using coordinator = await startTestCoordinator();
  using here = place({
    WORKER_TYPE: "embedding",
    HF_ENDPOINT: hub.url,
    MAX_CONNECTIONS: "1",
    ...coordinator.env,
  });
  const gate = holdWeights(hub);
  await using agent = startMuster(["start"], here.env);
  await coordinator.worker("a part is there", ({ models }) => models.some(({ bytesDone }) => bytesDone >= 8 << 20));
  expect(await terminated(agent)).toEqual(CLEAN);
  expect(await coordinator.list()).toEqual([]);
  // What came is kept, and nobody has to wait for a lease.
  gate.open();
  hub.reset();
  const rest = await runMuster(["sync"], here.env);
  expect(rest.code).toBe(0);
  expect(hub.bytesServed()).toBeLessThan(5 << 20);
  expect(rest.stdout).not.toContain("Waiting for");
});

test.concurrent("at once, while the hub is still asked what there is", async ({ expect }) => {
  await using hub = await startMiniLmHub();
  using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url });
  hub.faults.stallStart = true;
  await using agent = startMuster(["start"], here.env);
  await until("the hub is asked", () => hub.requests.length > 0);
  const { code, lastLines } = await terminated(agent);
  expect({ code, lastLines }).toEqual(CLEAN);
  expect(agent.stdout.join("\n")).not.toMatch(/WARN {2}(?!COORDINATOR_URL|.* nomic-embed-text)|Selected/);
});

test.concurrent("while the coordinator is away", async ({ expect }) => {
  await using hub = await startMiniLmHub();
  using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url });
  await using agent = startMuster(["start"], {
    ...here.env,
    COORDINATOR_URL: `ws://127.0.0.1:${await closedPort()}`,
  });
  await agent.line(/WARN {2}The coordinator at .* cannot be reached: nothing listens there \(ECONNREFUSED\)/);
  expect(await terminated(agent)).toEqual(CLEAN);
});

test.concurrent("while the coordinator takes connections and says nothing", async ({ expect }) => {
  await using hub = await startMiniLmHub();
  await using silent = createServer().listen(0, "127.0.0.1");
  const connected = once(silent, "connection");
  await once(silent, "listening");
  using here = place({
    WORKER_TYPE: "embedding",
    HF_ENDPOINT: hub.url,
    COORDINATOR_URL: `ws://127.0.0.1:${(silent.address() as AddressInfo).port}`,
  });
  await using agent = startMuster(["start"], here.env);
  const [socket] = await connected;
  using _ = { [Symbol.dispose]: () => socket.destroy() };
  expect(await terminated(agent)).toEqual(CLEAN);
});

test.concurrent("after the coordinator went away", async ({ expect }) => {
  await using hub = await startMiniLmHub();
  const coordinator = await startTestCoordinator();
  using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url, ...coordinator.env });
  await using agent = startMuster(["start"], here.env);
  await coordinator.worker("it is ready", ({ ready }) => ready);
  await coordinator.close();
  await agent.line(/connection to the coordinator was closed \(1012/);
  expect(await terminated(agent)).toEqual(CLEAN);
});

test.concurrent("as the coordinator asks: it drains and leaves", async ({ expect }) => {
  await using hub = await startMiniLmHub();
  await using coordinator = await startTestCoordinator();
  using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url, ...coordinator.env });
  await using agent = startMuster(["start"], here.env);
  const { id } = await coordinator.worker("it is ready", ({ ready }) => ready);
  expect(await coordinator.send(id, { t: "drain" })).toBe(true);
  const { code, stdout } = await agent.exited;
  expect(code).toBe(0);
  expect(stdout).toMatch(/INFO {2}Asked to drain\n.*INFO {2}Draining: asked by the coordinator\n.*Stopped\n$/);
  expect(await coordinator.list()).toEqual([]);
});

/** An engine in shell that says "up" and then does as told on SIGTERM. */
function engine(here: Place, onTerm: string): string {
  const path = join(here.folder, "engine");
  writeFileSync(path, `#!/bin/sh\ntrap '${onTerm}' TERM\necho "up as $$"\nwhile :; do sleep 0.05; done\n`);
  chmodSync(path, 0o755);
  return path;
}

test.concurrent("the coordinator hears of it while the engine still ends its work", async ({ expect }) => {
  await using hub = await startMiniLmHub();
  await using coordinator = await startTestCoordinator();
  using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url, ...coordinator.env });
  const done = join(here.folder, "done");
  const slow = engine(here, `while [ ! -f ${done} ]; do sleep 0.05; done; echo ended well; exit 0`);
  await using agent = startMuster(["start", "--", slow], here.env);
  await agent.line(/\[engine\] up as/);
  agent.kill("SIGTERM");
  const draining = await coordinator.worker("it drains", ({ state }) => state === "draining");
  expect(draining).toMatchObject({ connected: true, ready: false });
  // It cannot be called back.
  expect(await coordinator.send(draining.id, { t: "resume" })).toBe(true);
  await agent.line(/Asked to resume/);
  expect((await runMuster(["health", "--ready"], here.env)).code).toBe(1);
  expect(await coordinator.list()).toMatchObject([{ state: "draining", ready: false }]);
  expect((await runMuster(["health"], here.env)).code).toBe(0);
  writeFileSync(done, "");
  const { code, stdout } = await agent.exited;
  expect(code).toBe(0);
  expect(stdout).toContain("[engine] ended well");
  expect(await coordinator.list()).toEqual([]);
});

test.concurrent("a second signal ends it at once, and the engine with it", async ({ expect }) => {
  await using hub = await startMiniLmHub();
  using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url });
  await using agent = startMuster(["start", "--", engine(here, "echo not yet")], here.env);
  const pid = Number(/up as (\d+)/.exec(await agent.line(/\[engine\] up as/))?.[1]);
  agent.kill("SIGTERM");
  await agent.line(/\[engine\] not yet/);
  // What follows within a tenth of a second is taken for the first one again.
  await until("it has ended", () => {
    if (isRunning(agent.pid)) agent.kill("SIGTERM");
    return !isRunning(agent.pid);
  });
  expect((await agent.exited).code).toBe(75);
  await until("the engine is gone", () => !isRunning(pid));
});
