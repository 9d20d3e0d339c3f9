import type { MachineMemory } from "./meminfo.ts";
import type { MigListing } from "./mig-list.ts";
import type { NvidiaBoard, NvidiaMigDevice } from "./nvidia-xml.ts";
import type { NvidiaUnit } from "./visible-devices.ts";

const MIB = 1024 * 1024;
const unifiedProduct = /\bGB10\b|\bJetson\b|\bTegra\b|\bXavier\b|\bOrin\b|\bThor\b|\bnvgpu\b/i;

/**
 * The units a process can be given: boards, and where MIG is on, the MIG devices in their board's place. A board with MIG
 * on and no MIG device gives none, with a warning.
 */
export function toNvidiaUnits(
  boards: NvidiaBoard[],
  machine: MachineMemory,
  listed: MigListing[],
): { units: NvidiaUnit[]; warnings: string[] } {
  const warnings: string[] = [];
  const units = boards.flatMap((board): NvidiaUnit[] => {
    if (!board.migEnabled) return [boardUnit(board, machine, warnings)];
    if (board.migDevices.length === 0) {
      warnings.push(
        `GPU ${board.index} (${board.name}) has MIG enabled but no MIG device here, so nothing can run on it. ` +
          "Create one on the host (nvidia-smi mig -cgi … -C), give this container one " +
          "(NVIDIA_VISIBLE_DEVICES=MIG-…), or turn MIG off (-mig 0).",
      );
    }
    return board.migDevices.map((device) => migUnit(board, device, listed));
  });
  return { units, warnings };
}

function boardUnit(board: NvidiaBoard, machine: MachineMemory, warnings: string[]): NvidiaUnit {
  // With ATS alone a board may still have memory of its own (GH200); it is the unknown size that tells.
  const unified = unifiedProduct.test(board.name) || (board.addressingMode === "ATS" && board.memoryTotalMiB === null);
  if (!unified && board.memoryTotalMiB === null) warnings.push(memoryUnknown(board));
  return {
    boardUuid: board.uuid,
    prohibited: board.computeProhibited,
    mig: null,
    gpu: {
      index: board.index,
      name: board.name,
      uuid: board.uuid ?? board.pciAddress ?? `nvidia-${board.index}`,
      vendor: "nvidia",
      memoryTotalMiB: unified ? Math.floor(machine.totalBytes / MIB) : board.memoryTotalMiB,
      memoryFreeMiB: unified ? Math.floor(machine.availableBytes / MIB) : board.memoryFreeMiB,
      mig: false,
      unified,
      computeCapability: board.computeCapability,
    },
  };
}

function memoryUnknown(board: NvidiaBoard): string {
  const label = `GPU ${board.index} (${board.name})`;
  return board.memoryDenied
    ? `The driver does not show the memory of ${label} to this user (Insufficient Permissions): run as root or without ` +
        "user namespaces, or give the container the whole device. Models are chosen as if its size were unknown."
    : `The driver does not say how much memory ${label} has; models are chosen as if its size were unknown.`;
}

function migUnit(board: NvidiaBoard, device: NvidiaMigDevice, listed: MigListing[]): NvidiaUnit {
  const listing = listed.find((entry) => entry.boardUuid === board.uuid && entry.index === device.index);
  const { gpuInstanceId, computeInstanceId } = device;
  // The older name of a MIG device, which CUDA understands as well.
  const instance = `MIG-${board.uuid ?? board.pciAddress ?? board.index}/${gpuInstanceId}/${computeInstanceId}`;
  return {
    boardUuid: board.uuid,
    prohibited: board.computeProhibited,
    mig: { index: device.index, gpuInstanceId, computeInstanceId },
    gpu: {
      index: board.index,
      name: `${board.name} MIG ${listing?.profile ?? device.index}`,
      uuid: device.uuid ?? listing?.uuid ?? instance,
      vendor: "nvidia",
      memoryTotalMiB: device.memoryTotalMiB,
      memoryFreeMiB: device.memoryFreeMiB,
      mig: true,
      unified: false,
      computeCapability: board.computeCapability,
    },
  };
}
