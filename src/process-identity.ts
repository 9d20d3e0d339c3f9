import { readFile, readlink } from "node:fs/promises";
import * as z from "zod";

/**
 * Which process this is, beyond its number: in containers everybody is process 1. Kernel boot, process namespace,
 * number and start time together name one process for ever; null where the system does not tell.
 */
export const processIdentity = z
  .object({ boot: z.string(), namespace: z.string(), pid: z.number(), start: z.string() })
  .nullable();
export type ProcessIdentity = z.output<typeof processIdentity>;

export async function ownProcess(): Promise<ProcessIdentity> {
  const place = await ownPlace();
  const start = await startTime(process.pid);
  return place && start ? { ...place, pid: process.pid, start } : null;
}

/** True only where it is certain: the process ran under this kernel, in this namespace, and is no more. */
export async function isProcessGone(identity: ProcessIdentity): Promise<boolean> {
  const place = await ownPlace();
  if (!identity || !place || place.boot !== identity.boot || place.namespace !== identity.namespace) return false;
  return (await startTime(identity.pid)) !== identity.start;
}

/** True only where it is certain: the process is there, under this kernel and in this namespace. */
export async function isProcessRunning(identity: ProcessIdentity): Promise<boolean> {
  const place = await ownPlace();
  if (!identity || place?.boot !== identity.boot || place.namespace !== identity.namespace) return false;
  return (await startTime(identity.pid)) === identity.start;
}

async function ownPlace(): Promise<{ boot: string; namespace: string } | null> {
  try {
    const [boot, namespace] = await Promise.all([
      readFile("/proc/sys/kernel/random/boot_id", "utf8"),
      readlink("/proc/self/ns/pid"),
    ]);
    return { boot: boot.trim(), namespace };
  } catch {
    return null;
  }
}

/** Clock ticks after boot at which the process started; null when there is none of that number, or only its zombie. */
async function startTime(pid: number): Promise<string | null> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  // The second field is the command in parentheses, which may itself hold spaces and parentheses.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[0] === "Z" || fields[0] === "X" ? null : (fields[19] ?? null);
}
