import { join } from "node:path";
import type { Gpu } from "../hardware.ts";
import { type AmdAnswer, type AmdCard, toUniqueId } from "./amd-card.ts";
import { parseAmdSmi } from "./amd-smi.ts";
import { visibleAmdGpus } from "./amd-visible.ts";
import { type DrmCard, deviceAccess, listDrmCards } from "./drm.ts";
import type { ProbeContext, VendorReport } from "./probe.ts";
import { readNumber, readText } from "./read-text.ts";
import { parseRocmSmi } from "./rocm-smi.ts";
import { runTool } from "./run-tool.ts";
import { describeToolFailure } from "./tool-failure.ts";
import { toolJson } from "./tool-json.ts";

const MIB = 1024 * 1024;
const AMD_PCI_VENDOR = "0x1002";
const DEVICES = "start the container with --device=/dev/kfd --device=/dev/dri --group-add video --group-add render";
/** Processors with graphics in them, and MI300A; their memory is the part of the machine's that the firmware set aside. */
const integrated = /\bRadeon(\(TM\))? Graphics\b|\b[678]\d0M\b|\b80[56]0S\b|\bMI300A\b/i;

/**
 * AMD's GPUs by amd-smi, else by rocm-smi, else as sysfs shows them, narrowed to what is visible. All three show every
 * GPU of the machine, so those whose device nodes this container was not given are left out.
 */
export async function detectAmd(context: ProbeContext): Promise<VendorReport> {
  const warnings: string[] = [];
  const drm = await listDrmCards(context.roots, AMD_PCI_VENDOR);
  const answer =
    (await askAmdSmi(context, warnings)) ?? (await askRocmSmi(context, warnings)) ?? (await askSysfs(context, drm));
  const reachable = await withAccess(answer.cards, drm, context, warnings);
  const visible = visibleAmdGpus(reachable.map(toGpu), context.env);
  return {
    vendor: "amd",
    gpus: visible.gpus,
    driverVersion: answer.driverVersion,
    runtimeVersion: answer.rocmVersion,
    warnings: [...warnings, ...visible.warnings],
  };
}

async function askAmdSmi(context: ProbeContext, warnings: string[]): Promise<AmdAnswer | null> {
  const metricWarnings: string[] = [];
  const [facts, metric, version] = await Promise.all([
    askJson("amd-smi", ["static", "--asic", "--bus", "--vram", "--driver", "--json"], context, warnings),
    askJson("amd-smi", ["metric", "--mem-usage", "--json"], context, metricWarnings),
    // Older versions do not know it, and nothing but a line in the status depends on it.
    askJson("amd-smi", ["version", "--json"], context, []),
  ]);
  if (facts === null) return null;
  warnings.push(...metricWarnings);
  return orWarn("amd-smi", parseAmdSmi({ static: facts, metric, version }), warnings);
}

async function askRocmSmi(context: ProbeContext, warnings: string[]): Promise<AmdAnswer | null> {
  const shown = ["--showproductname", "--showmeminfo", "vram", "--showbus", "--showuniqueid", "--showdriverversion"];
  const json = await askJson("rocm-smi", [...shown, "--json"], context, warnings);
  return json === null ? null : orWarn("rocm-smi", parseRocmSmi(json), warnings);
}

/** The tool's JSON; null, with a warning, where it is there but fails, hangs or prints something else. */
async function askJson(tool: string, args: string[], context: ProbeContext, warnings: string[]): Promise<unknown> {
  const result = await runTool(tool, args, { ...context.tools, signal: context.signal });
  if (result.ok) return orWarn(tool, toolJson(result.stdout), warnings);
  if (result.failure.kind !== "missing") warnings.push(describeToolFailure(tool, result.failure));
  return null;
}

function orWarn<T>(tool: string, answer: T | null, warnings: string[]): T | null {
  if (answer === null)
    warnings.push(`${tool} answered in a form that is not understood; GPUs are looked up elsewhere.`);
  return answer;
}

async function askSysfs({ roots }: ProbeContext, drm: DrmCard[]): Promise<AmdAnswer> {
  const cards = drm.map(async (card, index): Promise<AmdCard> => {
    const total = await readNumber(join(card.folder, "device/mem_info_vram_total"));
    const used = await readNumber(join(card.folder, "device/mem_info_vram_used"));
    const product = await readText(join(card.folder, "device/product_name"));
    return {
      index,
      name: product || `AMD GPU ${card.deviceId ?? ""}`.trim(),
      uniqueId: toUniqueId(`0x${(await readText(join(card.folder, "device/unique_id"))) ?? ""}`),
      pciAddress: card.pciAddress,
      memoryTotalMiB: total === null || total === 0 ? null : Math.floor(total / MIB),
      memoryFreeMiB: total === null || used === null ? null : Math.floor(Math.max(0, total - used) / MIB),
    };
  });
  return {
    cards: await Promise.all(cards),
    driverVersion: await readText(join(roots.sys, "module/amdgpu/version")),
    rocmVersion: null,
  };
}

async function withAccess(
  cards: AmdCard[],
  drm: DrmCard[],
  { roots }: ProbeContext,
  warnings: string[],
): Promise<AmdCard[]> {
  if (cards.length === 0) return [];
  const kfd = join(roots.dev, "kfd");
  const compute = await deviceAccess(kfd);
  if (compute !== "granted") {
    const names = cards.map((card) => card.name).join(", ");
    const why = compute === "absent" ? "is not there" : "may not be opened by this user";
    warnings.push(`This machine has AMD GPUs (${names}), but ${kfd} ${why}: ${DEVICES}.`);
    return [];
  }
  return cards.filter((card) => {
    const known = drm.find((entry) => entry.pciAddress === card.pciAddress?.toLowerCase());
    if (known === undefined || known.access === "granted") return true;
    // Leaving out a render node is how one card of several is given to a container: nothing odd.
    if (known.access === "denied") {
      warnings.push(
        `GPU ${card.index} (${card.name}): ${known.renderNode} may not be opened by this user: ${DEVICES}.`,
      );
    }
    return false;
  });
}

function toGpu(card: AmdCard): Gpu {
  const { index, name, uniqueId, pciAddress, memoryTotalMiB, memoryFreeMiB } = card;
  return {
    index,
    name,
    // As rocminfo prints it and ROCR_VISIBLE_DEVICES takes it.
    uuid: uniqueId === null ? (pciAddress ?? `amd-${index}`) : `GPU-${uniqueId}`,
    vendor: "amd",
    memoryTotalMiB,
    memoryFreeMiB,
    mig: false,
    unified: integrated.test(name),
    computeCapability: null,
  };
}
