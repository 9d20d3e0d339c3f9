import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { onTestFinished } from "vitest";
import { temporaryFolder } from "./temporary-folder.ts";

type Skip = (note: string) => never;

/** A file system of its own, gone after the test; skips the test, aloud, where none can be mounted. */
export function mountTmpfs(bytes: number, skip: Skip): string {
  const folder = temporaryFolder();
  mount(["-t", "tmpfs", "-o", `size=${bytes},mode=755`, "tmpfs", folder], folder, skip);
  return folder;
}

/** Shows `source` in a second place, which renames do not cross although it is the same device. */
export function bindMount(source: string, skip: Skip, folder = temporaryFolder()): string {
  mkdirSync(folder, { recursive: true });
  mount(["--bind", source, folder], folder, skip);
  return folder;
}

export function remountReadOnly(folder: string): void {
  run(["-o", "remount,ro", folder]);
}

function mount(args: string[], folder: string, skip: Skip): void {
  const problem = run(args);
  if (problem !== null) {
    process.stderr.write(`SKIPPED, because nothing can be mounted here (${problem})\n`);
    skip(`nothing can be mounted here: ${problem}`);
  }
  onTestFinished(() => void spawnSync("umount", ["--lazy", folder]));
}

/** What mount complains of; null when it succeeded. */
function run(args: string[]): string | null {
  const { status, stderr, error } = spawnSync("mount", args, { encoding: "utf8" });
  return status === 0 ? null : (error?.message ?? stderr.trim());
}
