import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { temporaryFolder } from "./temporary-folder.ts";

type Skip = (note: string) => never;

/** A file system of its own, gone after the test; skips the test, aloud, where none can be mounted. */
export function mountTmpfs(bytes: number, skip: Skip, options = "mode=755"): string {
  const folder = temporaryFolder();
  mount(["-t", "tmpfs", "-o", `size=${bytes},${options}`, "tmpfs", folder], folder, skip);
  return folder;
}

/** Shows `source` in a second place, which renames do not cross although it is the same device. */
export function bindMount(source: string, skip: Skip, folder = temporaryFolder()): string {
  // Or a single file, onto another.
  if (!existsSync(folder)) mkdirSync(folder, { recursive: true });
  mount(["--bind", source, folder], folder, skip);
  return folder;
}

interface FailingDisk {
  megabytes: number;
  /** Of the beginning. */
  works: number;
}

/** A disk whose end is gone: the system takes all bytes, and some cannot be written when it comes to that (EIO). */
export function mountFailingDisk({ megabytes, works }: FailingDisk, skip: Skip): string {
  const image = join(temporaryFolder(), "image");
  const { folder, device } = mountImage(image, megabytes, skip);
  truncateSync(image, works << 20);
  need(command("losetup", "--set-capacity", device), skip);
  return folder;
}

/** A disk on another one that is smaller: the system takes all bytes, and then there is no place for them (ENOSPC). */
export function mountThinDisk({ megabytes, holds }: { megabytes: number; holds: number }, skip: Skip): string {
  const image = join(mountTmpfs(holds << 20, skip), "image");
  return mountImage(image, megabytes, skip).folder;
}

function mountImage(image: string, megabytes: number, skip: Skip): { folder: string; device: string } {
  writeFileSync(image, "");
  truncateSync(image, megabytes << 20);
  const features = ["-b", "4096", "-O", "^has_journal", "-E", "lazy_itable_init=1"];
  need(command("mkfs.ext4", "-q", "-F", ...features, image), skip);
  const found = spawnSync("losetup", ["--find", "--show", image], { encoding: "utf8" });
  need(found.status === 0 ? null : (found.error?.message ?? found.stderr.trim()), skip);
  const device = found.stdout.trim();
  const folder = temporaryFolder();
  onTestFinished(() => void spawnSync("losetup", ["--detach", device]));
  mount(["-o", "errors=continue", device, folder], folder, skip);
  return { folder, device };
}

export function remountReadOnly(folder: string): void {
  run(["-o", "remount,ro", folder]);
}

function mount(args: string[], folder: string, skip: Skip): void {
  need(run(args), skip);
  onTestFinished(() => void spawnSync("umount", ["--lazy", folder]));
}

function need(problem: string | null, skip: Skip): void {
  if (problem === null) return;
  process.stderr.write(`SKIPPED, because nothing can be mounted here (${problem})\n`);
  skip(`nothing can be mounted here: ${problem}`);
}

const run = (args: string[]) => command("mount", ...args);

/** What the command complains of; null when it succeeded. */
function command(name: string, ...args: string[]): string | null {
  const { status, stderr, error } = spawnSync(name, args, { encoding: "utf8" });
  return status === 0 ? null : (error?.message ?? stderr.trim());
}
