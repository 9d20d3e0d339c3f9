import { test } from "vitest";
import { startHub } from "../fakes/hub/hub.ts";
import { sentenceTransformerRepo } from "../fakes/tiny-models.ts";
import { place, startMuster } from "./muster.ts";
import { MINILM, startMiniLmHub, startTestCoordinator, type TestCoordinator } from "./services.ts";

async function tell(coordinator: TestCoordinator, id: string, command: string): Promise<number> {
  const headers = { authorization: `Bearer ${coordinator.env.COORDINATOR_TOKEN}` };
  return (await fetch(`${coordinator.url}/v1/workers/${id}/${command}`, { method: "POST", headers })).status;
}

test.concurrent("the coordinator pauses and resumes a worker", async ({ expect }) => {
  await using hub = await startMiniLmHub();
  await using coordinator = await startTestCoordinator();
  using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url, ...coordinator.env });
  await using agent = startMuster(["start"], here.env);
  const { id } = await coordinator.worker("it is ready", ({ ready }) => ready);
  expect(await tell(coordinator, id, "pause")).toBe(202);
  expect((await coordinator.worker("it pauses", ({ state }) => state === "paused")).ready).toBe(false);
  expect(await tell(coordinator, id, "resume")).toBe(202);
  expect((await coordinator.worker("it is back", ({ ready }) => ready)).state).toBe("ready");
  await agent.line(/INFO {2}Asked to resume/);
});

test.concurrent("the coordinator has it try again what could not be fetched", async ({ expect }) => {
  await using hub = await startHub();
  await using coordinator = await startTestCoordinator();
  using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url, ...coordinator.env });
  await using agent = startMuster(["start"], here.env);
  // Nobody's but the operator's to change, so that it does not look again by itself for a long time.
  await agent.line(/WARN {2}sentence-transformers\/all-MiniLM-L6-v2 does not exist at .* Trying again in 600 s/);
  const { id } = await coordinator.worker("it is registered", ({ connected }) => connected);
  hub.addRepo({ id: MINILM, files: sentenceTransformerRepo(MINILM) });
  expect(await tell(coordinator, id, "sync")).toBe(202);
  const { models } = await coordinator.worker("it is ready", ({ ready }) => ready);
  expect(models[0]).toMatchObject({ location: MINILM, state: "stored", errorCode: null });
});
