import { once } from "node:events";
import { mkdir, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "./tools/tool.ts";
import type { Workplace } from "./workplace.ts";

/** What a whole process cost: itself, its threads and the children it waited for. */
export interface Figures {
  /** Seconds from exec to exit. */
  wall: number;
  /** Seconds, user and system. */
  cpu: number;
  /** Of the largest of its processes. */
  rssMib: number;
}

/** Longer than the slowest tool on the worst link. */
const LIMIT_MS = 20 * 60_000;

/**
 * Runs the command under GNU time, which gives CPU and memory. Its own wall time has steps of 10 ms, too coarse for a
 * warm run, so that one is taken here: `spawn` returns when the program has been exec'ed.
 */
export async function measure(place: Workplace, { argv, env }: Command, prefix: string[] = []): Promise<Figures> {
  const output = join(place.folder, "time");
  const child = place.start([...prefix, "/usr/bin/time", "-q", "-o", output, "-f", "%U %S %M", ...argv], {
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const startedAt = performance.now();
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk) => {
      said = (said + chunk).slice(-4000);
    });
  }
  const limit = setTimeout(() => void place.stop(child), LIMIT_MS);
  let wall = 0;
  child.once("exit", () => {
    wall = (performance.now() - startedAt) / 1000;
    clearTimeout(limit);
  });
  const [code, signal] = await once(child, "close");
  place.signal.throwIfAborted();
  if (code !== 0) throw new Error(`${argv.join(" ")} ended with ${code ?? signal}\n${said}`);
  const [user = 0, system = 0, kib = 0] = (await readFile(output, "utf8")).trim().split(" ").map(Number);
  return { wall, cpu: user + system, rssMib: kib / 1024 };
}

/** An empty folder, and no page that the run before has left to be written to the disk during this one. */
export async function settle(place: Workplace, folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  await place.run(["sync"]);
}

/** Bytes of all files in a folder, links not followed. */
export async function bytesIn(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const sizes = await Promise.all(files.map(async ({ parentPath, name }) => (await stat(join(parentPath, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}
