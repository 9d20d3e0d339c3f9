import { freemem, totalmem } from "node:os";
import { join } from "node:path";
import { readText } from "./read-text.ts";

export interface MachineMemory {
  totalBytes: number;
  /** What programs can still take without swapping: free memory and caches that can be dropped. */
  availableBytes: number;
}

/** The memory of the whole machine, before any container limit; from /proc/meminfo, else as the platform says. */
export async function readMachineMemory(procRoot: string): Promise<MachineMemory> {
  const text = (await readText(join(procRoot, "meminfo"))) ?? "";
  const totalBytes = field(text, "MemTotal") ?? totalmem();
  const availableBytes = field(text, "MemAvailable") ?? field(text, "MemFree") ?? freemem();
  return { totalBytes, availableBytes: Math.min(availableBytes, totalBytes) };
}

function field(text: string, name: string): number | null {
  const kib = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(text)?.[1];
  return kib === undefined ? null : Number(kib) * 1024;
}
