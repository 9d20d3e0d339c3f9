import { spawnSync } from "node:child_process";

export const FLOCK_MISSING = spawnSync("flock", ["--version"]).error !== undefined;
if (FLOCK_MISSING) {
  process.stderr.write("SKIPPED: there is no flock (of util-linux), so nothing is tried with other tools' locks\n");
}
