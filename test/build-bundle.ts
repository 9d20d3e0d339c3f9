import { execFileSync } from "node:child_process";
import { join } from "node:path";

/** Before all tests: the processes that they start run the bundle, as the images do, and start in half the time. */
export default function buildBundle(): void {
  execFileSync(process.execPath, [join(import.meta.dirname, "../scripts/build.ts")], {
    stdio: ["ignore", "ignore", "inherit"],
  });
}
