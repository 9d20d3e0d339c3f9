import { execFileSync } from "node:child_process";
import { rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { runMuster } from "../e2e/muster.ts";
import { mountThinDisk, mountTmpfs } from "../store/mount.ts";
import { volumePlace } from "./volume-place.ts";

it.for(["ext4", "tmpfs"])("remove and prune make room on a disk without a free block (%s)", async (kind, { skip }) => {
  const at = await volumePlace();
  onTestFinished(() => at[Symbol.asyncDispose]());
  const volume = kind === "ext4" ? mountThinDisk({ megabytes: 32, holds: 64 }, skip) : mountTmpfs(16 << 20, skip);
  execFileSync("cp", ["-a", `${at.here.volume}/.`, volume]);
  const env = { ...at.env, MODEL_CACHE_DIR: volume };
  const ballast = join(volume, ".muster/ballast");
  let fillers = 0;
  const fill = () => {
    fillers += 1;
    const filler = join(volume, `filler-${fillers}`);
    execFileSync("sh", ["-c", 'cat /dev/zero > "$0" 2>&1; true', filler]);
    // Until the last block: what a system keeps back for its own lists comes free bit by bit.
    const last = () => {
      for (;;) writeFileSync(filler, Buffer.alloc(4096), { flag: "a", flush: true });
    };
    expect(last).toThrow(/ENOSPC/);
  };
  fill();
  for (const args of [
    ["remove", "vision", "--yes"],
    ["remove", "tiny", "--yes"],
    ["prune", "--max-size", "1MB", "--yes"],
  ]) {
    expect(await runMuster(args, env)).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Removed /m) });
    expect(statSync(ballast).size).toBeGreaterThan(0);
    fill();
  }
  rmSync(join(volume, "filler-1"));
  expect(await runMuster(["sync", "one"], env)).toMatchObject({ code: 0 });
  expect(await runMuster(["verify"], env)).toMatchObject({ code: 0 });
});
