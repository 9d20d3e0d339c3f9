import { spawnSync } from "node:child_process";
import { LAUNCHER } from "./muster.ts";

/** The launcher, run by a user who owns nothing here. */
export const AS_SOMEBODY = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", LAUNCHER];

/** Only root can become somebody, who must then be able to read this checkout. */
export const canBeSomebody =
  process.getuid?.() === 0 && spawnSync(AS_SOMEBODY[0]!, [...AS_SOMEBODY.slice(1), "--version"]).status === 0;
