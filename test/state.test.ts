import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, it, onTestFinished } from "vitest";
import { findAgent, openState } from "../src/state.ts";
import { temporaryFolder } from "./store/temporary-folder.ts";

interface Told {
  folder: string;
  workerId: string;
  temporaryIdentity: boolean;
  pid: number;
}

/** Another agent, a real process, that runs on this folder until it is ended. */
async function startAgent(folder: string, workerId?: string) {
  const fixture = join(import.meta.dirname, "fixtures", "state-process.ts");
  const child = spawn(process.execPath, [fixture, folder, ...(workerId ? [workerId] : [])], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const exited = once(child, "exit");
  const [line] = (await once(createInterface(child.stdout), "line")) as [string];
  const end = async (how: () => void) => {
    how();
    await exited;
  };
  return {
    told: JSON.parse(line) as Told,
    close: () => end(() => child.stdin.end()),
    kill: () => end(() => child.kill("SIGKILL")),
  };
}

const own = (stateDir: string, workerId: string | null = null) => ({ stateDir, workerId });

it("the worker id is made once and kept over restarts", async () => {
  const folder = join(temporaryFolder(), "state");
  const first = await openState(own(folder));
  expect(first.workerId).toMatch(/^worker-[\da-f]{8}-[\da-f]{4}$/);
  expect(first).toMatchObject({ folder, temporaryIdentity: false });
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  await first.close();
  expect((await openState(own(folder))).workerId).toBe(first.workerId);
  expect((await openState(own(temporaryFolder()))).workerId).not.toBe(first.workerId);
});

it("an id file that a crash left empty is written anew, once", async () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "worker-id"), "");
  const { workerId } = await openState(own(folder));
  expect((await openState(own(folder))).workerId).toBe(workerId);
});

it("WORKER_ID wins, and leaves the kept id alone", async () => {
  const folder = temporaryFolder();
  const { workerId } = await openState(own(folder));
  expect((await openState(own(folder, "named"))).workerId).toBe("named");
  expect((await openState(own(folder))).workerId).toBe(workerId);
});

it("a running agent is found; after its end it is not", async () => {
  const folder = temporaryFolder();
  expect(await findAgent(folder)).toBeNull();
  const agent = await startAgent(folder);
  const { pid, workerId } = agent.told;
  expect(await findAgent(folder)).toMatchObject({ pid, httpPort: 4711, workerId });
  await agent.close();
  expect(existsSync(join(folder, "agent.json"))).toBe(false);
  expect(await findAgent(folder)).toBeNull();
});

it("a second agent on the same folder goes by a name of its own and leaves the first one's record alone", async () => {
  const folder = temporaryFolder();
  const first = await startAgent(folder);
  const record = readFileSync(join(folder, "agent.json"), "utf8");
  const second = await startAgent(folder);
  expect(second.told.temporaryIdentity).toBe(true);
  expect(second.told.workerId).not.toBe(first.told.workerId);
  await second.close();
  expect(readFileSync(join(folder, "agent.json"), "utf8")).toBe(record);
  const named = await startAgent(folder, "named");
  expect(named.told).toMatchObject({ workerId: "named", temporaryIdentity: false });
  await named.close();
  await first.close();
  expect(await openState(own(folder))).toMatchObject({ workerId: first.told.workerId, temporaryIdentity: false });
});

it("what an agent left that was killed counts for nothing", async () => {
  const folder = temporaryFolder();
  const first = await startAgent(folder);
  await first.kill();
  expect(existsSync(join(folder, "agent.json"))).toBe(true);
  expect(await findAgent(folder)).toBeNull();
  const next = await startAgent(folder);
  expect(next.told).toMatchObject({ workerId: first.told.workerId, temporaryIdentity: false });
  expect(await findAgent(folder)).toMatchObject({ pid: next.told.pid });
});

it.each(["", "{", '{"pid":1}', "null"])("a record that is none is ignored: %j", async (content) => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "agent.json"), content);
  expect(await findAgent(folder)).toBeNull();
});
