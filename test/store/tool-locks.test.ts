import { spawn } from "node:child_process";
import { once } from "node:events";
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { ToolLocks } from "../../src/store/tool-locks.ts";
import { FLOCK_MISSING } from "./flock.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const NEVER = 3_600_000;
const { PATH } = process.env;

let folder: string;
let paths: string[];
beforeEach(() => {
  folder = temporaryFolder();
  paths = Array.from({ length: 12 }, (_, index) => join(folder, ".locks", `${index}.lock`));
});
afterEach(() => {
  process.env.PATH = PATH;
});

/** Another process that holds the lock until it is killed. */
async function holder(path: string) {
  const child = spawn("flock", [path, "sh", "-c", "echo held; exec sleep 3600"], { detached: true });
  const kill = () => process.kill(-child.pid!, "SIGKILL");
  const over = once(child, "exit");
  onTestFinished(() => void (child.exitCode === null && child.signalCode === null && kill()));
  await once(child.stdout, "data");
  return {
    async end() {
      kill();
      await over;
    },
  };
}

describe.skipIf(FLOCK_MISSING)("locks of other tools", () => {
  it("are held by one, for as long as it wants, and are left as other tools leave them", async () => {
    await using first = await ToolLocks.take(paths);
    await using second = await ToolLocks.take(paths);
    expect(paths.map((path) => first.isBusy(path))).toEqual(paths.map(() => false));
    expect(paths.map((path) => second.isBusy(path))).toEqual(paths.map(() => true));
    expect(await second.wait(paths[0]!, { timeoutMs: 1 })).toBe(false);
    await first.release(paths[3]!);
    expect(await second.wait(paths[3]!, { timeoutMs: NEVER })).toBe(true);
    const { mode, size } = statSync(paths[3]!);
    expect([mode & 0o777, size]).toEqual([0o664, 0]);
  });

  it("of another process are seen, waited for and then had", async () => {
    await using free = await ToolLocks.take([paths[0]!]);
    await free.release(paths[0]!);
    const other = await holder(paths[0]!);
    await using locks = await ToolLocks.take(paths.slice(0, 2));
    expect([locks.isBusy(paths[0]!), locks.isBusy(paths[1]!)]).toEqual([true, false]);
    const waiting = locks.wait(paths[0]!, { timeoutMs: NEVER });
    await other.end();
    expect(await waiting).toBe(true);
  });

  it("are given up waiting for when told so", async () => {
    await using _first = await ToolLocks.take(paths);
    await using second = await ToolLocks.take(paths);
    const stop = new AbortController();
    const waiting = second.wait(paths[0]!, { timeoutMs: NEVER, signal: stop.signal });
    stop.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
  });

  it("are none where there is no command for them, nor where no file can be made", async () => {
    writeFileSync(join(folder, ".locks"), "not a folder");
    await using none = await ToolLocks.take(paths);
    expect(none.isBusy(paths[0]!)).toBe(false);
    process.env.PATH = folder;
    const elsewhere = join(folder, "other", "0.lock");
    await using locks = await ToolLocks.take([elsewhere]);
    expect(locks.isBusy(elsewhere)).toBe(false);
    expect(() => statSync(elsewhere)).toThrow("ENOENT");
  });
});
