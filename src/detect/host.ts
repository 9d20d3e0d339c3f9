import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import type { Hardware } from "../hardware.ts";
import { readCgroupLimits } from "./cgroup.ts";
import { readMachineMemory } from "./meminfo.ts";
import { readText } from "./read-text.ts";

/**
 * CPU and memory as this process may use them. Cores are the CPUs of its affinity mask, fewer where a cgroup quota
 * grants fewer; a quota of 2.5 counts as 2, because a third busy thread would only be throttled.
 */
export async function readHost(roots: { sys: string; proc: string }): Promise<Pick<Hardware, "cpu" | "memory">> {
  const [model, machine, limits] = await Promise.all([
    readCpuModel(roots.proc),
    readMachineMemory(roots.proc),
    readCgroupLimits(roots),
  ]);
  const cores = Math.min(availableParallelism(), limits.cpus ?? Number.POSITIVE_INFINITY);
  return {
    cpu: { model, cores: Math.max(1, Math.floor(cores)) },
    memory: {
      totalBytes: Math.min(machine.totalBytes, limits.memoryLimitBytes ?? machine.totalBytes),
      availableBytes: Math.min(machine.availableBytes, limits.memoryLeftBytes ?? machine.availableBytes),
      limitBytes: limits.memoryLimitBytes,
    },
  };
}

async function readCpuModel(procRoot: string): Promise<string> {
  const text = (await readText(join(procRoot, "cpuinfo"))) ?? "";
  // Arm kernels have no "model name"; some boards say "Model", the others only what the platform knows.
  const model = /^(?:model name|Model|Hardware)\s*:\s*(.+)$/m.exec(text)?.[1] ?? cpus()[0]?.model;
  return model === undefined || model.trim() === "" ? `unknown (${process.arch})` : model.trim();
}
