import { join, posix } from "node:path";
import { readNumber, readText } from "./read-text.ts";

export interface CgroupLimits {
  /** The smallest memory limit on the way up; null where there is none. */
  memoryLimitBytes: number | null;
  /** What is left under the tightest limit, page cache that can be dropped counted as free; null without a limit. */
  memoryLeftBytes: number | null;
  /** CPUs by the smallest quota, a fraction where the quota is one; null where there is none. */
  cpus: number | null;
}

/** cgroup v1 writes "no limit" as the largest page-aligned 63-bit number; nothing real comes near. */
const NO_LIMIT = 2 ** 60;

/**
 * The limits this process runs under, from cgroup v2, v1, or a machine with both.
 *
 * A limit may stand on any ancestor, so each level up to the root is read and the smallest wins. Inside a container the
 * path in /proc/self/cgroup often names a folder of the host that is not there while the container's own group is
 * mounted as the root: missing levels are passed over, and the root is always read.
 */
export async function readCgroupLimits(roots: { sys: string; proc: string }): Promise<CgroupLimits> {
  const memory: { limit: number; left: number }[] = [];
  const quotas: number[] = [];
  for (const group of await memberships(roots)) {
    for (const folder of group.folders) {
      for (const level of levelsUp(folder, group.path)) {
        if (group.controllers === null || group.controllers.includes("memory")) {
          const found = group.controllers === null ? await memoryV2(level) : await memoryV1(level);
          if (found !== null) memory.push(found);
        }
        if (group.controllers === null || group.controllers.includes("cpu")) {
          const quota = group.controllers === null ? await quotaV2(level) : await quotaV1(level);
          if (quota !== null) quotas.push(quota);
        }
      }
    }
  }
  return {
    memoryLimitBytes: smallest(memory.map((level) => level.limit)),
    memoryLeftBytes: smallest(memory.map((level) => level.left)),
    cpus: smallest(quotas),
  };
}

interface Membership {
  /** Null for cgroup v2, where one hierarchy has them all. */
  controllers: string[] | null;
  path: string;
  /** Where the hierarchy may be mounted. */
  folders: string[];
}

async function memberships({ sys, proc }: { sys: string; proc: string }): Promise<Membership[]> {
  const mount = join(sys, "fs/cgroup");
  const text = (await readText(join(proc, "self/cgroup"))) ?? "";
  return text.split("\n").flatMap((line): Membership[] => {
    const match = /^\d+:([^:]*):(\/.*)$/.exec(line);
    if (match === null) return [];
    const [, names = "", raw = "/"] = match;
    // Seen from within a namespace the path can start with "/..": normalize keeps it below the mount.
    const path = posix.normalize(raw);
    if (names === "") return [{ controllers: null, path, folders: [mount, join(mount, "unified")] }];
    const controllers = names.split(",");
    // "cpu,cpuacct" is one folder, with or without links for its parts.
    return [{ controllers, path, folders: [...new Set([names, ...controllers])].map((name) => join(mount, name)) }];
  });
}

function levelsUp(folder: string, path: string): string[] {
  const levels: string[] = [];
  for (let at = path; ; at = posix.dirname(at)) {
    levels.push(join(folder, at));
    if (at === "/") return levels;
  }
}

async function memoryV2(level: string) {
  return memoryLevel(level, { limit: "memory.max", usage: "memory.current", droppable: "inactive_file" });
}

async function memoryV1(level: string) {
  const names = { limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes", droppable: "total_inactive_file" };
  return memoryLevel(level, names);
}

async function memoryLevel(level: string, names: { limit: string; usage: string; droppable: string }) {
  const limit = await readNumber(join(level, names.limit));
  if (limit === null || limit >= NO_LIMIT) return null;
  const used = (await readNumber(join(level, names.usage))) ?? 0;
  const stat = (await readText(join(level, "memory.stat"))) ?? "";
  const droppable = Number(new RegExp(`^${names.droppable} (\\d+)$`, "m").exec(stat)?.[1] ?? 0);
  return { limit, left: Math.max(0, limit - Math.max(0, used - droppable)) };
}

async function quotaV2(level: string): Promise<number | null> {
  const match = /^(\d+) (\d+)$/.exec((await readText(join(level, "cpu.max"))) ?? "");
  return match === null ? null : share(Number(match[1]), Number(match[2]));
}

async function quotaV1(level: string): Promise<number | null> {
  const quota = await readNumber(join(level, "cpu.cfs_quota_us"));
  const period = await readNumber(join(level, "cpu.cfs_period_us"));
  return quota === null || period === null ? null : share(quota, period);
}

function share(quota: number, period: number): number | null {
  return quota > 0 && period > 0 ? quota / period : null;
}

function smallest(values: number[]): number | null {
  return values.length === 0 ? null : Math.min(...values);
}
