import type { Gpu } from "../hardware.ts";
import { takeListed } from "./listed-devices.ts";
import type { VisibilityEnv } from "./probe.ts";

/** A board or a MIG device, with what it can be called by. */
export interface NvidiaUnit {
  gpu: Gpu;
  boardUuid: string | null;
  /** No process may compute on it; it counts as a position all the same. */
  prohibited: boolean;
  mig: { index: number; gpuInstanceId: string | null; computeInstanceId: string | null } | null;
}

export interface Visible {
  units: NvidiaUnit[];
  warnings: string[];
}

/**
 * The NVIDIA devices a process here can use: those the driver shows, narrowed by NVIDIA_VISIBLE_DEVICES, then by
 * CUDA_VISIBLE_DEVICES. The index of a device stays the driver's.
 *
 * NVIDIA_VISIBLE_DEVICES is an order to the container runtime, usually carried out before we look, and CUDA never reads
 * it. So it may take away what it plainly does not name, but a stale index must not hide a GPU that was handed to us:
 * - `all`, unset, empty and `void` take nothing away. `void` and empty mean "let the NVIDIA runtime do nothing"; with CDI
 *   (Podman, Docker --device nvidia.com/gpu=…, the GPU operator) `void` stands in every container that has GPUs.
 * - `none` hides all.
 * - UUIDs (GPU-…, MIG-…, a prefix that fits one device only) mean the same inside and outside: what is not named is
 *   hidden, even if nothing remains.
 * - Indices are the host's, and the runtime renumbers from 0. Where no more devices are shown than indices are given, it
 *   has done its work and all are kept (`1` in a container that shows one GPU with index 0). Where more are shown it has
 *   not (bare metal, --privileged), and those with the indices are kept; if none has one, all are.
 *
 * CUDA_VISIBLE_DEVICES acts inside our own processes, so it is taken literally: positions in what is left, in its order,
 * up to the first entry that names nothing; set but empty hides all.
 */
export function visibleNvidiaUnits(shown: NvidiaUnit[], env: VisibilityEnv): Visible {
  const assigned = narrowByRuntime(shown, env.nvidiaVisibleDevices);
  const usable = narrowByCuda(assigned.units, env);
  return { units: usable.units, warnings: [...assigned.warnings, ...usable.warnings] };
}

function narrowByRuntime(shown: NvidiaUnit[], value: string | undefined): Visible {
  const setting = `NVIDIA_VISIBLE_DEVICES=${value}`;
  const entries = [...new Set(splitRuntimeList(value ?? ""))];
  if (shown.length === 0 || entries.length === 0 || entries.includes("all") || entries.includes("void")) {
    return { units: shown, warnings: [] };
  }
  if (entries.includes("none")) return { units: [], warnings: [`${setting} hides all GPUs.`] };

  const indices = entries.filter((entry) => /^\d+(:\d+)?$/.test(entry));
  const uuids = entries.filter((entry) => /^(gpu|mig)-/i.test(entry));
  if (indices.length === 0 && uuids.length === 0) {
    return { units: shown, warnings: [`${setting} is not understood; all GPUs that the driver shows are used.`] };
  }
  if (uuids.length === 0 && countNamed(shown, indices) <= indices.length) return { units: shown, warnings: [] };

  const absent: string[] = [];
  const kept = new Set<NvidiaUnit>();
  for (const entry of [...indices, ...uuids]) {
    const matched = indices.includes(entry) ? withIndex(shown, entry) : withUuid(shown, entry);
    if (matched.length === 0) absent.push(entry);
    for (const unit of matched) kept.add(unit);
  }
  const units = shown.filter((unit) => kept.has(unit));
  const missing = `${setting} names ${absent.join(", ")}, which is no GPU, or not a single one, that the driver shows`;
  if (units.length > 0) return { units, warnings: absent.length === 0 ? [] : [`${missing}.`] };
  if (uuids.length === 0 || shown.some(hasMadeUpUuid)) {
    return { units: shown, warnings: [`${missing}; all that it shows are used.`] };
  }
  return {
    units,
    warnings: [`${missing}; no GPU is left. The driver shows ${shown.map((unit) => unit.gpu.uuid).join(", ")}.`],
  };
}

/** Entries in lower case, where CDI names (nvidia.com/gpu=0) count as what they end in, and mount lists as nothing. */
function splitRuntimeList(value: string): string[] {
  return value
    .split(",")
    .map((entry) => entry.trim().toLowerCase())
    .filter((entry) => entry !== "" && !entry.startsWith("/"))
    .map((entry) => entry.replace(/^[\w.-]+\/[\w.-]+=/, ""));
}

/** How many of the things that such indices name are shown: boards for "1", MIG devices for "0:1". */
function countNamed(shown: NvidiaUnit[], indices: string[]): number {
  if (indices.some((entry) => entry.includes(":"))) return shown.length;
  return new Set(shown.map((unit) => unit.gpu.index)).size;
}

function withIndex(units: NvidiaUnit[], entry: string): NvidiaUnit[] {
  const [board, device] = entry.split(":").map(Number);
  return units.filter((unit) => unit.gpu.index === board && (device === undefined || unit.mig?.index === device));
}

/** Units by the UUID (or an unambiguous beginning) of a board or of themselves, or by MIG-GPU-…/instance/instance. */
function withUuid(units: NvidiaUnit[], entry: string): NvidiaUnit[] {
  const wanted = entry.toLowerCase();
  const names = (unit: NvidiaUnit): string[] => {
    const own = unit.gpu.uuid.toLowerCase();
    if (wanted.startsWith("gpu-")) return [unit.boardUuid?.toLowerCase() ?? own];
    if (unit.mig === null) return [];
    return [own, `mig-${unit.boardUuid}/${unit.mig.gpuInstanceId}/${unit.mig.computeInstanceId}`.toLowerCase()];
  };
  const exact = units.filter((unit) => names(unit).includes(wanted));
  if (exact.length > 0) return exact;
  const beginning = units.filter((unit) => names(unit)[0]?.startsWith(wanted));
  return new Set(beginning.map((unit) => names(unit)[0])).size === 1 ? beginning : [];
}

/** Without `nvidia-smi -L` a MIG device goes by its instance numbers, and its UUID cannot be compared. */
function hasMadeUpUuid(unit: NvidiaUnit): boolean {
  return unit.mig !== null && unit.gpu.uuid.includes("/");
}

function narrowByCuda(assigned: NvidiaUnit[], env: VisibilityEnv): Visible {
  const value = env.cudaVisibleDevices;
  if (value === undefined || assigned.length === 0) return { units: assigned, warnings: [] };
  if (value.trim() === "") {
    return {
      units: [],
      warnings: ["CUDA_VISIBLE_DEVICES is set but empty, which hides all GPUs; unset it to use them."],
    };
  }
  const { taken, stoppedAt } = takeListed(value, (entry) => {
    if (!/^\d+$/.test(entry)) return /^(gpu|mig)-/i.test(entry) ? withUuid(assigned, entry) : [];
    return assigned.slice(Number(entry), Number(entry) + 1);
  });

  const setting = `CUDA_VISIBLE_DEVICES=${value}`;
  const warnings: string[] = [];
  if (stoppedAt !== null && stoppedAt !== "-1" && stoppedAt !== "NoDevFiles") {
    warnings.push(
      `${setting}: "${stoppedAt}" names none of the ${assigned.length} GPUs here (positions count from 0 within this ` +
        "container), and CUDA ignores it and all that follows.",
    );
  }
  if (taken.length === 0) warnings.push(`${setting} hides all GPUs.`);
  const products = new Set(assigned.map((unit) => unit.gpu.name));
  const byPosition = /(^|,)\s*\d/.test(value) && taken.length > 0 && taken.length < assigned.length;
  if (byPosition && products.size > 1 && env.cudaDeviceOrder !== "PCI_BUS_ID") {
    warnings.push(
      `${setting}: CUDA counts the fastest GPU first, the driver counts by PCI address; with unlike GPUs set ` +
        "CUDA_DEVICE_ORDER=PCI_BUS_ID or name GPUs by UUID.",
    );
  }
  return { units: taken, warnings };
}
