import { chmodSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { supervise } from "../../src/serve/engines/supervise.ts";
import type { SupervisedStatus } from "../../src/status.ts";
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
  const told: SupervisedStatus[] = [];
  const env = { PATH: process.env.PATH, ...options.env };
  const ended = supervise({
    start: async () => ({ command: [path, "serve", "--port", "1"], env }),
    onChange: (status) => told.push(status),
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
    told,
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
  const error = { code: "ENGINE_FAILED", message: failure?.msg };
  expect(engine.told.slice(0, 3)).toMatchObject([
    { program: engine.path, starts: 1, running: true, error: null },
    { starts: 1, running: false, error },
    { starts: 2, running: true, error },
  ]);
});

test("an engine that was killed, or that cannot be started, is told of by the reason", async () => {
  const killed = startEngine("kill -9 $$");
  await killed.line(/ended \(SIGKILL\)\./);
  const { log, lines } = keptLog();
  const stop = new AbortController();
  const ended = supervise({
    start: async () => ({ command: ["no-such-engine"], env: {} }),
    log,
    stopMs: 1,
    signal: stop.signal,
  });
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
