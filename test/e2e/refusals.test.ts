import { once } from "node:events";
import { chmodSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "vitest";
import { LAUNCHER, place, runMuster, startMuster } from "./muster.ts";
import { closedPort, startMiniLmHub, startTestCoordinator } from "./services.ts";
import { AS_SOMEBODY, canBeSomebody } from "./somebody.ts";

test.concurrent("a start that is impossible is told once, with what to do", async ({ expect }) => {
  using here = place({ WORKER_TYPE: "embeddings" });
  const text = await runMuster(["start"], here.env);
  expect(text).toMatchObject({ code: 78, stderr: "" });
  expect(text.stdout).toMatch(
    /^\S+Z FATAL WORKER_TYPE is "embeddings", which the catalog does not have\. code=WORKER_TYPE_UNKNOWN hint=Set WORKER_TYPE to one of: .+\n$/,
  );
  const json = await runMuster(["start"], { ...here.env, LOG_FORMAT: "json" });
  expect(json.code).toBe(78);
  expect(JSON.parse(json.stdout)).toMatchObject({ level: "fatal", code: "WORKER_TYPE_UNKNOWN" });
});

test.concurrent("a port that is taken", async ({ expect }) => {
  await using other = createServer().listen(0);
  await once(other, "listening");
  const { port } = other.address() as AddressInfo;
  using here = place({ WORKER_TYPE: "embedding", HTTP_PORT: String(port) });
  const { code, stdout } = await runMuster(["start"], here.env);
  expect(code).toBe(78);
  expect(stdout).toMatch(
    /FATAL HTTP_PORT \d+ cannot be listened on \(EADDRINUSE\)\. code=PORT_IN_USE hint=Choose another/,
  );
});

test.skipIf(!canBeSomebody).concurrent("a private folder that may not be written", async ({ expect }) => {
  using here = place({ WORKER_TYPE: "embedding" });
  chmodSync(here.folder, 0o755);
  const env = { ...here.env, STATE_DIR: join(here.volume, "state") };
  const { code, stdout } = await runMuster(["start"], env, { command: AS_SOMEBODY });
  expect(code).toBe(78);
  expect(stdout).toMatch(/FATAL STATE_DIR \S+ cannot be written \(EACCES\)\. code=CONFIG_INVALID hint=Set STATE_DIR/);
});

test
  .skipIf(process.platform !== "linux")
  .concurrent("a state directory where no folder can be made", async ({ expect }) => {
    using here = place({ WORKER_TYPE: "embedding", STATE_DIR: "/proc/muster" });
    // What never ends hears no SIGTERM either.
    const command = ["timeout", "--signal=KILL", "40", LAUNCHER];
    const { code, stdout } = await runMuster(["start"], here.env, { command });
    expect(code).toBe(78);
    expect(stdout).toContain("FATAL STATE_DIR /proc/muster cannot be written (ENOENT). code=CONFIG_INVALID");
  });

test.concurrent("a token that the coordinator does not take is told, and the worker stays to try again", async ({
  expect,
}) => {
  await using hub = await startMiniLmHub();
  await using coordinator = await startTestCoordinator();
  const wrong = "not-the-token-0123456789";
  using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url, ...coordinator.env, COORDINATOR_TOKEN: wrong });
  await using agent = startMuster(["start"], here.env);
  await agent.line(/ERROR The coordinator at \S+ refuses this worker \(HTTP 401\)\..* hint=Set COORDINATOR_TOKEN or/);
  await agent.line(/Ready: every required model/);
  const health = await runMuster(["health", "--ready", "--json"], here.env);
  expect(health.code).toBe(1);
  expect(JSON.parse(health.stdout)).toMatchObject({
    ready: false,
    reasons: [expect.stringMatching(/^not registered with ws:.*: The coordinator at .* refuses this worker/)],
  });
  expect(agent.stdout.join("\n")).not.toContain(wrong);
});

test.concurrent("commands for a running agent, where none runs", async ({ expect }) => {
  using here = place({ HTTP_PORT: String(await closedPort()) });
  for (const command of ["status", "health"]) {
    const text = await runMuster([command], here.env);
    expect(text).toMatchObject({ code: 1, stdout: "" });
    expect(text.stderr).toMatch(
      /^error AGENT_NOT_RUNNING: The agent cannot be asked: nothing answers on port \d+\.\nhint Start/,
    );
  }
  const json = await runMuster(["status", "--json"], { ...here.env, HTTP_PORT: "0" });
  expect(JSON.parse(json.stderr).error).toMatchObject({
    code: "AGENT_NOT_RUNNING",
    message: "The agent cannot be asked: no agent runs on this state directory.",
  });
});

test.concurrent("an agent that serves on an IPv6 address is found there", async ({ expect }) => {
  await using hub = await startMiniLmHub();
  using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url, HTTP_HOST: "::1" });
  await using agent = startMuster(["start"], here.env);
  await agent.line(/Ready: every required model/);
  expect(await runMuster(["health", "--ready"], here.env)).toMatchObject({ code: 0, stdout: "ok\n" });
});
