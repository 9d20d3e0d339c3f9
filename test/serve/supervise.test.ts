import { chmodSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { engineEnvironment, supervise, superviseEngine } from "../../src/serve/engines/supervise.ts";
import { isRunning } from "../e2e/is-running.ts";
import { keptLog } from "../register/worker.ts";
import { temporaryFolder } from "../store/temporary-folder.ts";
import { until } from "../until.ts";

/** An engine in shell under supervision; ended after the test. */
function startEngine(script: string, options: { stopMs?: number; env?: Record<string, string> } = {}) {
  const path = join(temporaryFolder(), "engine");
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  const { log, lines } = keptLog();
  const stop = new AbortController();
  const ended = supervise({
    command: [path, "serve", "--port", "1"],
    env: { PATH: process.env.PATH, ...options.env },
    log,
    stopMs: options.stopMs ?? 30_000,
    signal: stop.signal,
  });
  onTestFinished(() => {
    stop.abort();
    return ended;
  });
  const said = (text: string | RegExp) =>
    lines.filter(({ msg }) => (typeof text === "string" ? msg === text : text.test(msg)));
  return {
    path,
    lines,
    said,
    /** The first line that matches. */
    line: (pattern: RegExp) => until(`the log has ${pattern}`, () => said(pattern)[0]),
    async stop() {
      stop.abort();
      await ended;
    },
  };
}

const pidIn = (text: string) => Number(/\d+/.exec(text)?.[0]);

test("an engine that fails is started again, and what it said is told", async () => {
  const engine = startEngine("for i in 1 2 3 4 5 6; do echo line $i; done; echo out of memory >&2; exit 3");
  await until("it was started three times", () => engine.said(`Starting engine ${engine.path}`).length >= 3);
  await engine.stop();
  const failure = engine.said(/ended/)[0];
  expect(failure).toMatchObject({
    level: 50,
    code: "ENGINE_FAILED",
    msg: `The engine ${engine.path} ended (exit code 3); its last words: line 3 | line 4 | line 5 | line 6 | out of memory`,
  });
  expect(engine.said("[engine] line 1").length).toBeGreaterThanOrEqual(2);
  expect(engine.said("[engine] out of memory").length).toBeGreaterThanOrEqual(2);
  expect(engine.said(/^Starting engine \S+ again in \d+\.\d s$/).length).toBeGreaterThanOrEqual(2);
});

test("an engine that was killed, or that cannot be started, is told of by the reason", async () => {
  const killed = startEngine("kill -9 $$");
  await killed.line(/ended \(SIGKILL\)\./);
  const { log, lines } = keptLog();
  const stop = new AbortController();
  const ended = supervise({ command: ["no-such-engine"], env: {}, log, stopMs: 1, signal: stop.signal });
  await until("it is told", () => lines.find(({ msg }) => /^The engine no-such-engine ended \(.*ENOENT/.test(msg)));
  stop.abort();
  await ended;
});

test("SIGTERM reaches the engine, and its end is waited for", async () => {
  const engine = startEngine(`trap 'echo leaving; exit 0' TERM; echo "up as $$ with $*"; while :; do sleep 0.02; done`);
  const { msg } = await engine.line(/\[engine\] up as \d+ with serve --port 1$/);
  await engine.stop();
  expect(engine.said("[engine] leaving")).toHaveLength(1);
  expect(engine.said(/ended|again/)).toEqual([]);
  // Not even as a zombie.
  expect(existsSync(`/proc/${pidIn(msg)}`)).toBe(false);
  expect(isRunning(pidIn(msg))).toBe(false);
});

test("an engine that ignores SIGTERM is killed in the end", async () => {
  const engine = startEngine(`trap 'echo no' TERM; echo "up as $$"; while :; do sleep 0.02; done`, { stopMs: 200 });
  const { msg } = await engine.line(/\[engine\] up as/);
  await engine.stop();
  expect(engine.said("[engine] no")).toHaveLength(1);
  expect(isRunning(pidIn(msg))).toBe(false);
});

test("what an engine leaves behind is ended before it is started again, and holds up nothing", async () => {
  const engine = startEngine(`sleep 1000 & echo "left $!"; exit 1`);
  await until("it was started twice", () => engine.said(/\[engine\] left/).length >= 2);
  await engine.stop();
  for (const { msg } of engine.said(/\[engine\] left/)) {
    await until("the orphan is gone", () => !isRunning(pidIn(msg)));
  }
});

test("an engine waits for the models, and is not started by an agent that leaves before", async () => {
  const { log, lines } = keptLog();
  const config = parseConfig({ LOG_FILE: "none" });
  const stop = new AbortController();
  const models = Promise.withResolvers<void>();
  const ended = superviseEngine(["/bin/sh", "-c", "echo up"], {
    config,
    log,
    signal: stop.signal,
    when: models.promise,
  });
  expect(lines).toEqual([]);
  stop.abort();
  models.resolve();
  await ended;
  expect(lines).toEqual([]);
  await superviseEngine([], { config, log, signal: new AbortController().signal, when: new Promise(() => undefined) });
});

test("the environment of an engine", () => {
  const config = parseConfig({ MODEL_CACHE_DIR: "/models", VLLM_CACHE: "/fast/vllm", LOG_FILE: "none" });
  const inherited = {
    PATH: "/bin",
    VLLM_USE_V1: "1",
    HF_HUB_OFFLINE: "0",
    HF_HOME: "/elsewhere",
    HF_TOKEN: "a",
    HUGGING_FACE_HUB_TOKEN: "a",
    HF_TOKEN_FILE: "/run/secrets/a",
    HF_TOKEN_PATH: "/run/secrets/a",
    COORDINATOR_TOKEN: "b",
    COORDINATOR_TOKEN_FILE: "/run/secrets/b",
    OPENAI_API_KEY: "c",
    OPENAI_API_KEY_FILE: "/run/secrets/c",
    VLLM_API_KEY: "d",
    VLLM_API_KEY_FILE: "/run/secrets/d",
    TRANSFORMERS_CACHE: "/elsewhere",
  };
  expect(engineEnvironment(config, inherited)).toEqual({
    PATH: "/bin",
    VLLM_USE_V1: "1",
    VLLM_API_KEY: "d",
    HF_HOME: "/models/huggingface",
    HF_HUB_CACHE: "/models/huggingface/hub",
    HF_HUB_OFFLINE: "1",
    OLLAMA_MODELS: "/models/ollama",
    OLLAMA_NOPRUNE: "1",
    OLLAMA_NO_CLOUD: "1",
    VLLM_CACHE_ROOT: "/fast/vllm",
  });
});
