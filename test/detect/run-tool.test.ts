import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, test, vi } from "vitest";
import { runTool } from "../../src/detect/run-tool.ts";
import { isRunning } from "../e2e/is-running.ts";
import { until } from "../until.ts";
import { fakeTools } from "./fake-tools.ts";

// Long enough for a shell to start on a busy machine.
const SOON_MS = 1500;
const AMPLE_MS = 30_000;

test("returns what the tool prints", async () => {
  await using tools = await fakeTools();
  await tools.install("tool", 'echo "$1 $LC_ALL"; echo noise >&2');
  const result = await runTool("tool", ["hello"], { path: tools.path, timeoutMs: AMPLE_MS });
  expect(result).toEqual({ ok: true, stdout: "hello C" });
});

test("a tool that is not there is missing", async () => {
  await using tools = await fakeTools();
  const result = await runTool("tool", [], { path: tools.path, timeoutMs: AMPLE_MS });
  expect(result).toEqual({ ok: false, failure: { kind: "missing" } });
});

test("a tool that fails tells its exit code and all that it said", async () => {
  await using tools = await fakeTools();
  await tools.install("tool", "echo said; echo why >&2; exit 9");
  const result = await runTool("tool", [], { path: tools.path, timeoutMs: AMPLE_MS });
  expect(result).toEqual({ ok: false, failure: { kind: "failed", exitCode: 9, stdout: "said", stderr: "why" } });
});

test("a tool that a signal ends has no exit code", async () => {
  await using tools = await fakeTools();
  await tools.install("tool", "kill -SEGV $$");
  const result = await runTool("tool", [], { path: tools.path, timeoutMs: AMPLE_MS });
  expect(result).toMatchObject({ ok: false, failure: { kind: "failed", exitCode: null } });
});

test("output without end is cut off", async () => {
  await using tools = await fakeTools();
  await tools.install("tool", "exec yes");
  const result = await runTool("tool", [], { path: tools.path, timeoutMs: AMPLE_MS });
  expect(result).toMatchObject({ ok: false, failure: { kind: "failed" } });
});

test("a tool that hangs and ignores SIGTERM is killed at the time-out", async () => {
  await using tools = await fakeTools();
  await tools.install("tool", `trap "" TERM; echo $$ > "$1"; exec sleep 600`);
  const pidFile = join(tools.path, "pid");
  const result = await runTool("tool", [pidFile], { path: tools.path, timeoutMs: SOON_MS });
  expect(result).toEqual({ ok: false, failure: { kind: "timeout", timeoutMs: SOON_MS } });
  const pid = Number(await readFile(pidFile, "utf8"));
  await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow(), 10_000);
});

test("the time-out does not wait for a grandchild that keeps the pipe open", async () => {
  await using tools = await fakeTools();
  await tools.install("tool", `sleep 600 & echo $! > "$1"; wait`);
  const pidFile = join(tools.path, "pid");
  const result = await runTool("tool", [pidFile], { path: tools.path, timeoutMs: SOON_MS });
  process.kill(Number(await readFile(pidFile, "utf8")), "SIGKILL");
  expect(result).toMatchObject({ ok: false, failure: { kind: "timeout" } });
});

test("the signal ends it with its own reason, before and while the tool runs", async () => {
  await using tools = await fakeTools();
  await tools.install("tool", "exec sleep 600");
  const stop = new AbortController();
  const running = runTool("tool", [], { path: tools.path, timeoutMs: AMPLE_MS, signal: stop.signal });
  const reason = new Error("stopping");
  stop.abort(reason);
  await expect(running).rejects.toBe(reason);
  const late = runTool("tool", [], { path: tools.path, timeoutMs: AMPLE_MS, signal: stop.signal });
  await expect(late).rejects.toBe(reason);
});

test("a tool that runs ends with this process, and no signal is handled for it", async () => {
  await using tools = await fakeTools();
  await tools.install("tool", `echo $$ > "$1.new"; mv "$1.new" "$1"; exec sleep 600`);
  const pidFile = join(tools.path, "pid");
  const fixture = join(import.meta.dirname, "fixtures/tool-process.ts");
  const process_ = spawn(process.execPath, [fixture, "tool", pidFile], {
    env: { PATH: `${tools.path}:${process.env.PATH}` },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const said = text(process_.stdout);
  const pid = Number(await until("the tool runs", () => readFile(pidFile, "utf8").catch(() => null)));
  expect(isRunning(pid)).toBe(true);
  process_.stdin.write("end\n");
  await once(process_, "exit");
  expect(JSON.parse(await said)).toEqual([]);
  await until("the tool is gone", () => !isRunning(pid));
});
