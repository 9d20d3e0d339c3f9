import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, it, onTestFinished } from "vitest";
import {
  isProcessGone,
  isProcessRunning,
  ownProcess,
  type ProcessIdentity,
  processIdentity,
} from "../src/process-identity.ts";

// Elsewhere identities are null, and nothing is ever certain.
const linux = it.runIf(process.platform === "linux");

const verdict = async (identity: ProcessIdentity) => ({
  running: await isProcessRunning(identity),
  gone: await isProcessGone(identity),
});

/** A child that says who it is (its command has a space and a parenthesis), and waits to be killed. */
async function startChild() {
  const module = JSON.stringify(new URL("../src/process-identity.ts", import.meta.url).href);
  const code = `process.title = "a) b (c"; import(${module}).then(async ({ ownProcess }) => {
    console.log(JSON.stringify(await ownProcess())); process.stdin.resume(); });`;
  const child = spawn(process.execPath, ["-e", code], { stdio: ["pipe", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  const [said] = (await once(child.stdout, "data")) as [Buffer];
  return { child, identity: processIdentity.parse(JSON.parse(said.toString())) };
}

linux("this process runs, and is always the same", async () => {
  const identity = await ownProcess();
  expect(identity).toMatchObject({ pid: process.pid, start: expect.stringMatching(/^\d+$/) });
  expect(await ownProcess()).toEqual(identity);
  expect(await verdict(identity)).toEqual({ running: true, gone: false });
});

linux("another process runs until it is killed", async () => {
  const { child, identity } = await startChild();
  expect(identity).toMatchObject({ pid: child.pid });
  expect(Number(identity?.start)).toBeGreaterThanOrEqual(Number((await ownProcess())?.start));
  expect(await verdict(identity)).toEqual({ running: true, gone: false });
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
  expect(await verdict(identity)).toEqual({ running: false, gone: true });
});

linux("a later process of the same number is another one", async () => {
  const identity = (await ownProcess())!;
  expect(await verdict({ ...identity, start: "1" })).toEqual({ running: false, gone: true });
});

linux.each([{ boot: "another boot" }, { namespace: "pid:[1]" }])("nothing is certain elsewhere: %o", async (change) => {
  const identity = (await ownProcess())!;
  expect(await verdict({ ...identity, ...change })).toEqual({ running: false, gone: false });
  expect(await verdict({ ...identity, ...change, start: "1" })).toEqual({ running: false, gone: false });
});

it("nothing is certain of a process that has no identity", async () => {
  expect(await verdict(null)).toEqual({ running: false, gone: false });
});
