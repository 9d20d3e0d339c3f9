import { test } from "vitest";
import { place, runMuster, startMuster } from "./muster.ts";
import { startMiniLmHub, startTestCoordinator } from "./services.ts";

test.concurrent("a second agent of the same WORKER_ID takes over; the older one stops for good", async ({ expect }) => {
  await using hub = await startMiniLmHub();
  await using coordinator = await startTestCoordinator();
  const env = { WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url, ...coordinator.env, WORKER_ID: "twin" };
  using here = place(env);
  using there = place(env);
  await using older = startMuster(["start"], here.env);
  const before = await coordinator.worker("the first is ready", ({ ready }) => ready);
  await using newer = startMuster(["start"], there.env);
  const { code, stdout } = await older.exited;
  expect(code).toBe(78);
  expect(stdout).toMatch(
    /FATAL Stopped: .+ \(4009: .*code=SUPERSEDED hint=Give each worker its own WORKER_ID and STATE_DIR/,
  );
  expect(stdout).not.toContain("asked by the coordinator");
  const after = await coordinator.worker(
    "the second is ready",
    ({ ready, bootId }) => ready && bootId !== before.bootId,
  );
  expect(after.id).toBe("twin");
  newer.kill("SIGTERM");
  expect((await newer.exited).code).toBe(0);
});

test.concurrent("two agents on one private folder go by two names", async ({ expect }) => {
  await using hub = await startMiniLmHub();
  await using coordinator = await startTestCoordinator();
  using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url, ...coordinator.env });
  await using one = startMuster(["start"], here.env);
  const { id } = await coordinator.worker("the first is ready", ({ ready }) => ready);
  await using two = startMuster(["start"], here.env);
  await two.line(
    /WARN {2}Another agent runs on .+; this one goes by worker-\S+ until it ends\. Set WORKER_ID or STATE_DIR/,
  );
  await coordinator.worker("the second is ready", (worker) => worker.ready && worker.id !== id);
  two.kill("SIGTERM");
  expect((await two.exited).code).toBe(0);
  expect((await coordinator.list()).map((worker) => worker.id)).toEqual([id]);
  // The first is still the one that commands find.
  const status = await runMuster(["status", "--json"], here.env);
  expect(JSON.parse(status.stdout).workerId).toBe(id);
  one.kill("SIGTERM");
  expect((await one.exited).code).toBe(0);
});
