import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Gpu } from "../hardware.ts";
import { type DrmCard, listDrmCards } from "./drm.ts";
import type { ProbeContext, VendorReport } from "./probe.ts";
import { readNumber } from "./read-text.ts";
import { runTool } from "./run-tool.ts";
import { describeToolFailure } from "./tool-failure.ts";
import { toolJson } from "./tool-json.ts";
import { parseXpuDetails, parseXpuDiscovery, type XpuDevice } from "./xpu-smi.ts";

const MIB = 1024 * 1024;
const INTEL_PCI_VENDOR = "0x8086";
/** Where every Intel processor has its own graphics; what stands elsewhere is a card. */
const INTEGRATED_PCI = "0000:00:02.0";

/** Intel's discrete GPUs by xpu-smi, else as sysfs shows them; those without a device node here are left out. */
export async function detectIntel(context: ProbeContext): Promise<VendorReport> {
  const warnings: string[] = [];
  const drm = (await listDrmCards(context.roots, INTEL_PCI_VENDOR)).filter(
    (card) => card.pciAddress !== INTEGRATED_PCI,
  );
  const found = (await askXpuSmi(context, warnings)) ?? { gpus: await askSysfs(drm), driverVersion: null };
  const gpus = found.gpus
    .filter(({ pciAddress }) =>
      hasAccess(
        drm.find((card) => card.pciAddress === pciAddress?.toLowerCase()),
        warnings,
      ),
    )
    .map(({ gpu }) => gpu);
  for (const { index, name, memoryTotalMiB } of gpus) {
    if (memoryTotalMiB !== null) continue;
    warnings.push(
      `The memory of GPU ${index} (${name}) is not known; models are chosen as if its size were unknown. Install ` +
        "xpu-smi, or use the xe kernel driver.",
    );
  }
  return { vendor: "intel", gpus, driverVersion: found.driverVersion, runtimeVersion: null, warnings };
}

interface Found {
  gpu: Gpu;
  pciAddress: string | null;
}

async function askXpuSmi(
  context: ProbeContext,
  warnings: string[],
): Promise<{ gpus: Found[]; driverVersion: string | null } | null> {
  const options = { ...context.tools, signal: context.signal };
  const result = await runTool("xpu-smi", ["discovery", "-j"], options);
  if (!result.ok) {
    if (result.failure.kind !== "missing") warnings.push(describeToolFailure("xpu-smi", result.failure));
    return null;
  }
  const devices = parseXpuDiscovery(toolJson(result.stdout));
  if (devices === null) {
    warnings.push("xpu-smi answered in a form that is not understood; GPUs are looked up in sysfs.");
    return null;
  }
  const ask = async (...args: string[]) => {
    const answer = await runTool("xpu-smi", [...args, "-j"], options);
    return answer.ok ? toolJson(answer.stdout) : null;
  };
  const gpus = devices.map(async (device) => {
    const id = String(device.id);
    const [discovery, stats] = await Promise.all([ask("discovery", "-d", id), ask("stats", "-d", id)]);
    return { device, details: parseXpuDetails({ discovery, stats }) };
  });
  const described = await Promise.all(gpus);
  return {
    gpus: described.map(({ device, details }) => ({ pciAddress: device.pciAddress, gpu: toGpu(device, details) })),
    driverVersion: described[0]?.details.driverVersion ?? null,
  };
}

async function askSysfs(drm: DrmCard[]): Promise<Found[]> {
  const found = drm.map(async (card, id) => {
    const name = `Intel GPU ${card.deviceId ?? ""}`.trim();
    const memoryTotalBytes = await readLocalMemory(card);
    const device = { id, name, uuid: null, pciAddress: card.pciAddress };
    return { pciAddress: card.pciAddress, gpu: toGpu(device, { memoryTotalBytes, memoryFreeBytes: null }) };
  });
  return Promise.all(found);
}

/** The xe driver says it per tile; i915 only as Intel ships it outside the kernel tree. */
async function readLocalMemory(card: DrmCard): Promise<number | null> {
  const device = join(card.folder, "device");
  const tiles = (await readdir(device).catch(() => [])).filter((name) => /^tile\d+$/.test(name));
  const sizes = await Promise.all(tiles.map((tile) => readNumber(join(device, tile, "physical_vram_size_bytes"))));
  const known = sizes.filter((size) => size !== null);
  if (known.length > 0) return known.reduce((a, b) => a + b, 0) || null;
  return (await readNumber(join(card.folder, "lmem_total_bytes"))) || null;
}

function hasAccess(card: DrmCard | undefined, warnings: string[]): boolean {
  if (card === undefined || card.access === "granted") return true;
  const why = card.access === "absent" ? "is not there" : "may not be opened by this user";
  warnings.push(
    `This machine has an Intel GPU (${card.pciAddress}), but ${card.renderNode ?? "its render node"} ${why}: start the ` +
      "container with --device=/dev/dri --group-add render.",
  );
  return false;
}

function toGpu(device: XpuDevice, memory: { memoryTotalBytes: number | null; memoryFreeBytes: number | null }): Gpu {
  return {
    index: device.id,
    name: device.name,
    uuid: device.uuid ?? device.pciAddress ?? `intel-${device.id}`,
    vendor: "intel",
    memoryTotalMiB: toMiB(memory.memoryTotalBytes),
    memoryFreeMiB: toMiB(memory.memoryFreeBytes),
    mig: false,
    unified: false,
    computeCapability: null,
  };
}

function toMiB(bytes: number | null): number | null {
  return bytes === null ? null : Math.floor(bytes / MIB);
}
