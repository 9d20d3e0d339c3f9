import { expect, test } from "vitest";
import type { WorkerView } from "../../src/coordinator/coordinator.ts";
import type { AgentStatus } from "../../src/status.ts";
import { startOllamaRegistry } from "../fakes/ollama-registry.ts";
import { seededBytes } from "../fakes/tiny-models.ts";
import { httpOf, place, runMuster, startMuster } from "./muster.ts";
import { holdWeights, MINILM, startMiniLmHub, startTestCoordinator } from "./services.ts";

const MODEL = "all-minilm-l6-v2";

test("a worker registers first, shows how far its models are, becomes ready, and leaves with a goodbye", async () => {
  await using hub = await startMiniLmHub(12 << 20);
  await using coordinator = await startTestCoordinator();
  using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url, MAX_CONNECTIONS: "1", ...coordinator.env });
  const gate = holdWeights(hub);
  await using agent = startMuster(["start"], here.env);
  const url = await httpOf(agent);
  const get = (path: string) => fetch(`${url}${path}`);
  const ask = async (...args: string[]) => {
    const { code, stdout, stderr } = await runMuster(args, here.env);
    expect(stderr).toBe("");
    return { code, stdout };
  };

  // In the middle of the download
  const half = await coordinator.worker("half of the model is there", ({ models }) =>
    models.some(({ model, bytesDone }) => model === MODEL && bytesDone >= 8 << 20),
  );
  expect(half).toMatchObject({ ready: false, connected: true, state: "syncing", workerType: "embedding" });
  const { state, required, bytesDone, bytesTotal } = half.models.find(({ model }) => model === MODEL)!;
  expect({ state, required }).toEqual({ state: "fetching", required: true });
  expect(bytesDone).toBeLessThan(bytesTotal);
  expect(await agent.line(/Downloading/)).toMatch(
    /^\S+Z INFO {2}Downloading sentence-transformers\/all-MiniLM-L6-v2: \d+% \(.+ of 12\.\d MB/,
  );

  expect(await (await get("/livez")).json()).toEqual({ live: true });
  const notReady = await get("/readyz");
  expect(notReady.status).toBe(503);
  expect(await notReady.json()).toEqual({
    ready: false,
    reasons: ["the agent is syncing", `model ${MODEL} is fetching`],
  });
  expect(await ask("health")).toEqual({ code: 0, stdout: "ok\n" });
  expect(await ask("health", "--ready")).toEqual({
    code: 1,
    stdout: `not ready: the agent is syncing; model ${MODEL} is fetching\n`,
  });
  const told = await ask("status");
  expect(told.code).toBe(0);
  expect(told.stdout).toMatch(/all-minilm-l6-v2 +fetching +required +8\.4 MB of 12\.\d MB/);
  expect(told.stdout).toContain(`${coordinator.wsUrl}/, registered (session `);
  expect(JSON.parse((await ask("list", "--json")).stdout)).toMatchObject({ models: [], bytes: 0 });
  expect(await (await get("/metrics")).text()).toContain(
    `muster_model_state{model="${MODEL}",source="huggingface",state="fetching"} 1`,
  );

  // Complete
  gate.open();
  const ready = await coordinator.worker("it is ready", (worker) => worker.ready);
  expect(ready).toMatchObject({ id: half.id, epoch: half.epoch, state: "ready" });
  expect(ready.models).toContainEqual(
    expect.objectContaining({ model: MODEL, state: "stored", bytesDone: bytesTotal }),
  );
  await agent.line(/Downloaded sentence-transformers\/all-MiniLM-L6-v2: 12\.\d MB/);
  await agent.line(/Ready: every required model is on the volume/);
  expect((await get("/readyz")).status).toBe(200);
  expect(await ask("health", "--ready")).toEqual({ code: 0, stdout: "ok\n" });
  const status = JSON.parse((await ask("status", "--json")).stdout) as AgentStatus;
  expect(status).toMatchObject({ workerId: half.id, state: "ready", ready: true });
  expect(status.coordinator).toMatchObject({ connected: true, epoch: half.epoch });
  expect(JSON.parse((await ask("list", "--json")).stdout)).toMatchObject({
    models: [{ location: MINILM, complete: true, bytes: bytesTotal, license: "apache-2.0" }],
    bytes: bytesTotal,
  });
  const metrics = await (await get("/metrics")).text();
  expect(metrics).toContain("muster_ready 1");
  expect(metrics).toContain("muster_coordinator_connected 1");
  expect(metrics).toContain(`muster_model_stored_bytes{model="${MODEL}"} ${bytesTotal}`);

  // Told to stop
  agent.kill("SIGTERM");
  const { code, stdout, stderr } = await agent.exited;
  expect(code).toBe(0);
  expect(stdout).toMatch(/INFO {2}Draining: told to stop\n.* INFO {2}Stopped\n$/);
  expect(stderr).toBe("");
  expect(await coordinator.list()).toEqual([]);
  const after = await runMuster(["status"], here.env);
  expect(after.code).toBe(1);
  expect(after.stderr).toContain(
    "AGENT_NOT_RUNNING: The agent cannot be asked: no agent runs on this state directory.",
  );
});

test("a second start fetches nothing and asks no source anything, so that it needs none", async () => {
  await using hub = await startMiniLmHub();
  await using registry = await startOllamaRegistry();
  registry.addModel("library/nomic-embed-text:latest", { layers: { model: seededBytes(1 << 20, 1) } });
  await using coordinator = await startTestCoordinator();
  const sources = { HF_ENDPOINT: hub.url, OLLAMA_REGISTRY: registry.url };
  using here = place({ WORKER_TYPE: "embedding", ...sources, ...coordinator.env });
  const once = async () => {
    await using agent = startMuster(["start"], here.env);
    const isStored = ({ models }: WorkerView) => models.length === 2 && models.every(({ state }) => state === "stored");
    const { id } = await coordinator.worker("all is stored", (worker) => worker.ready && isStored(worker));
    agent.kill("SIGTERM");
    const { code, stdout } = await agent.exited;
    expect(code).toBe(0);
    return { id, stdout };
  };
  const first = await once();
  expect(hub.bytesServed()).toBeGreaterThan(256 * 1024);
  expect(registry.bytesServed()).toBeGreaterThan(1 << 20);
  hub.reset();
  registry.reset();
  const second = await once();
  expect([hub.requests, registry.requests]).toEqual([[], []]);
  expect(second.stdout).toContain("nomic-embed-text is complete on the volume");
  expect(second.stdout).toContain(`${MINILM} is complete on the volume`);
  expect(second.stdout).not.toContain("Downloading");
  await hub.close();
  await registry[Symbol.asyncDispose]();
  const third = await once();
  expect(third.stdout).not.toContain("WARN  Nothing is known");
  expect([second.id, third.id]).toEqual([first.id, first.id]);
});

test("kill -9 in mid-download and a restart fetch only what was missing, under the same name", async () => {
  await using hub = await startMiniLmHub(32 << 20);
  await using coordinator = await startTestCoordinator();
  const env = { WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url, MAX_CONNECTIONS: "8", ...coordinator.env };
  using here = place(env);
  hub.faults.slow = { host: "cdn", bytesPerSecond: 2 << 20 };
  await using killed = startMuster(["start"], here.env);
  const before = await coordinator.worker("a third is there", ({ models }) =>
    models.some(({ model, bytesDone }) => model === MODEL && bytesDone > 11 << 20),
  );
  killed.kill("SIGKILL");
  expect((await killed.exited).signal).toBe("SIGKILL");
  const plan = await runMuster(["plan", "--json"], here.env);
  const served = hub.bytesServed();
  const { bytesTotal, bytesMissing, state } = JSON.parse(plan.stdout).models[0];
  expect(state).toBe("partial");
  expect(bytesMissing).toBeLessThan(bytesTotal);
  expect(bytesMissing).toBeGreaterThan(0);

  hub.reset();
  await using restarted = startMuster(["start"], here.env);
  const after = await coordinator.worker("it is ready", ({ ready }) => ready);
  expect(after.id).toBe(before.id);
  expect(after.bootId).not.toBe(before.bootId);
  expect(await coordinator.list()).toHaveLength(1);
  await restarted.line(/Resuming/);
  // The config is asked for anew, to know what the model needs.
  expect(hub.bytesServed() - hub.bytesServed({ file: "config.json" })).toBeLessThanOrEqual(bytesMissing);
  // On each of at most 8 connections a kill costs what came since the last line of the journal, and what was on its way.
  expect(served + hub.bytesServed()).toBeLessThan(bytesTotal + 8 * (2 << 20));
  const verified = await runMuster(["sync"], here.env);
  expect(verified.stdout).toContain("0 B fetched now");
});
