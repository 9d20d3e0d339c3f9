import { test } from "vitest";
import { startHub } from "../fakes/hub/hub.ts";
import { causalLmRepo, sentenceTransformerRepo } from "../fakes/tiny-models.ts";
import { place, runMuster, startMuster } from "./muster.ts";
import { closedPort, holdWeights, MINILM, startMiniLmHub, startTestCoordinator, WEIGHTS } from "./services.ts";

const TOKEN = "hf_abcdefghijklmnop";

test.concurrent("sync brings what the agent was refused: it notices, and is ready without a restart", async ({
  expect,
}) => {
  const files = sentenceTransformerRepo(MINILM);
  await using hub = await startHub({
    repos: [{ id: MINILM, files, gated: "manual" }],
    tokens: { [TOKEN]: { name: "somebody", gatedAccess: [MINILM] } },
  });
  await using coordinator = await startTestCoordinator();
  using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url, ...coordinator.env });
  await using agent = startMuster(["start"], here.env);
  await agent.line(
    /WARN {2}sentence-transformers\/all-MiniLM-L6-v2\S* .*gated and refused \(no token was sent .* Trying again/,
  );
  const failed = await coordinator.worker("the refusal is reported", ({ models }) =>
    models.some(({ location, state }) => location === MINILM && state === "failed"),
  );
  expect(failed).toMatchObject({ ready: false, state: "syncing" });
  expect(failed.models).toContainEqual(expect.objectContaining({ location: MINILM, errorCode: "MODEL_GATED" }));

  expect((await runMuster(["sync"], { ...here.env, HF_TOKEN: TOKEN })).code).toBe(0);
  const ready = await coordinator.worker("it is ready", (worker) => worker.ready);
  expect(ready).toMatchObject({ id: failed.id, bootId: failed.bootId, epoch: failed.epoch });
  expect(ready.models).toContainEqual(
    expect.objectContaining({ location: MINILM, required: true, state: "stored", errorCode: null }),
  );
  await agent.line(/Ready: every required model is on the volume/);
});

test.concurrent("sync brings what the agent cannot reach at all", async ({ expect }) => {
  await using hub = await startMiniLmHub();
  await using coordinator = await startTestCoordinator();
  using here = place({ WORKER_TYPE: "embedding", ...coordinator.env });
  const unreachable = `http://127.0.0.1:${await closedPort()}`;
  await using agent = startMuster(["start"], { ...here.env, HF_ENDPOINT: unreachable });
  // It is seen long before it gives up for the first time.
  const waiting = await coordinator.worker("it is registered", ({ connected }) => connected);
  expect(waiting.ready).toBe(false);
  await agent.line(/WARN {2}127\.0\.0\.1:\d+ cannot be reached: .*ECONNREFUSED.* Trying again in/);
  expect((await runMuster(["sync"], { ...here.env, HF_ENDPOINT: hub.url })).code).toBe(0);
  expect((await coordinator.worker("it is ready", ({ ready }) => ready)).bootId).toBe(waiting.bootId);
});

test.concurrent("another model of the catalog, synced beside the agent, is reported as well", async ({ expect }) => {
  const other = { id: "facebook/opt-125m", files: causalLmRepo("facebook/opt-125m") };
  await using hub = await startMiniLmHub(undefined, other);
  await using coordinator = await startTestCoordinator();
  using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url, ...coordinator.env });
  await using agent = startMuster(["start"], here.env);
  const before = await coordinator.worker("it is ready", ({ ready }) => ready);
  expect(before.models.map(({ model }) => model)).toEqual(["all-minilm-l6-v2", "nomic-embed-text"]);
  expect((await runMuster(["sync", "opt-125m"], here.env)).code).toBe(0);
  const after = await coordinator.worker("the new model is reported", ({ models }) => models.length === 3);
  expect(after).toMatchObject({ ready: true, bootId: before.bootId });
  expect(after.models[2]).toMatchObject({ model: "opt-125m", location: other.id, required: false, state: "stored" });
  expect(after.models[2]!.bytesDone).toBe(after.models[2]!.bytesTotal);
  agent.kill("SIGTERM");
  expect((await agent.exited).code).toBe(0);
});

test.concurrent("two syncs at once on one volume: each byte once", async ({ expect }) => {
  const files = sentenceTransformerRepo(MINILM, 12 << 20);
  await using hub = await startHub({ repos: [{ id: MINILM, files }] });
  using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url });
  const gate = holdWeights(hub, { all: true });
  await using first = startMuster(["sync"], here.env);
  await first.line(/Downloading/);
  await using second = startMuster(["sync"], here.env);
  await second.line(/INFO {2}Waiting for .+, which has been fetching sentence-transformers\/all-MiniLM-L6-v2 since/);
  gate.open();
  const [a, b] = await Promise.all([first.exited, second.exited]);
  expect([a.code, b.code]).toEqual([0, 0]);
  expect(a.stdout).toMatch(/1 of 2 models complete \(12\.\d MB\), 12\.\d MB fetched now, 1 failed\n$/);
  expect(b.stdout).toMatch(/1 of 2 models complete \(12\.\d MB\), 0 B fetched now, 1 failed\n$/);
  expect(hub.bytesServed({ file: WEIGHTS })).toBe((files[WEIGHTS] as Buffer).length);
  const list = JSON.parse((await runMuster(["list", "--json"], here.env)).stdout);
  // The config is read beforehand as well, by each of the two.
  const config = files["config.json"] as string;
  expect(hub.bytesServed() - hub.bytesServed({ file: "config.json" })).toBe(list.bytes - config.length);
});
