import { XMLParser } from "fast-xml-parser";
import * as z from "zod";
import { deriveComputeCapability } from "./compute-capability.ts";

export interface NvidiaMigDevice {
  /** Number of the device on its board. */
  index: number;
  /** Drivers give it here only since recently; `nvidia-smi -L` always does. */
  uuid: string | null;
  gpuInstanceId: string | null;
  computeInstanceId: string | null;
  memoryTotalMiB: number | null;
  memoryFreeMiB: number | null;
}

export interface NvidiaBoard {
  /** Position in the report, which is the index of NVML and of nvidia-smi. */
  index: number;
  name: string;
  uuid: string | null;
  pciAddress: string | null;
  computeCapability: string | null;
  memoryTotalMiB: number | null;
  memoryFreeMiB: number | null;
  /** The driver knows the memory but will not tell this user. */
  memoryDenied: boolean;
  /** How CPU and GPU share addresses: "ATS", "HMM", or null. */
  addressingMode: string | null;
  /** Compute mode "Prohibited": no process can use it for computing. */
  computeProhibited: boolean;
  migEnabled: boolean;
  migDevices: NvidiaMigDevice[];
}

export interface NvidiaReport {
  driverVersion: string | null;
  cudaVersion: string | null;
  boards: NvidiaBoard[];
}

/** What `nvidia-smi -q -x` printed, or null where that is no complete report. Never throws. */
export function parseNvidiaXml(xml: string): NvidiaReport | null {
  // Warnings may stand around it. The end is looked for because the parser forgives missing end tags, and a report cut
  // short would read as a smaller machine.
  const complete = /<nvidia_smi_log>[\s\S]*<\/nvidia_smi_log>/.exec(xml)?.[0];
  if (complete === undefined) return null;
  const parsed = document.safeParse(readXml(complete));
  if (!parsed.success) return null;
  const { driver_version, cuda_version, gpu } = parsed.data.nvidia_smi_log;
  return { driverVersion: driver_version, cudaVersion: cuda_version, boards: gpu.map(toBoard) };
}

const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: "@",
  parseTagValue: false,
  parseAttributeValue: false,
  isArray: (name) => name === "gpu" || name === "mig_device",
  // Names of foreign processes are neither needed nor reliably escaped.
  stopNodes: ["nvidia_smi_log.gpu.processes"],
});

function readXml(xml: string): unknown {
  try {
    return parser.parse(xml);
  } catch {
    return null;
  }
}

/** A field with words for "unknown" in it is unknown: "N/A", "[N/A]", "[Insufficient Permissions]", "GPU is lost", … */
const unknownText =
  /^\[?(n\/a|not (supported|available|found)|insufficient permissions|unknown error|gpu is lost|)\]?$/i;
const raw = z.string().catch("");
const text = raw.transform((value) => (unknownText.test(value.trim()) ? null : value.trim()));
const memory = z.object({ total: raw, free: raw }).catch({ total: "", free: "" });
const count = raw.transform((value) => (/^\d+$/.test(value) ? Number(value) : null));

const migDevice = z.object({
  index: count,
  uuid: text,
  gpu_instance_id: text,
  compute_instance_id: text,
  fb_memory_usage: memory,
});

const board = z.object({
  "@id": text,
  product_name: text,
  product_architecture: text,
  uuid: text,
  compute_mode: text,
  addressing_mode: text,
  compute_cap: text,
  compute_capability: text,
  fb_memory_usage: memory,
  mig_mode: z.object({ current_mig: raw }).catch({ current_mig: "" }),
  // The text "None" where there are none.
  mig_devices: z.object({ mig_device: z.array(migDevice).catch([]) }).catch({ mig_device: [] }),
});

const document = z.object({
  nvidia_smi_log: z.object({
    driver_version: text,
    cuda_version: text,
    // An element that is not a board keeps its place as one of which nothing is known, so that indices stay right.
    gpu: z.array(board.catch(() => board.parse({}))).catch([]),
  }),
});

function toBoard(seen: z.infer<typeof board>, index: number): NvidiaBoard {
  const name = seen.product_name ?? "NVIDIA GPU";
  const stated = [seen.compute_cap, seen.compute_capability].find(
    (value) => value !== null && /^\d+\.\d+$/.test(value),
  );
  const migDevices = seen.mig_devices.mig_device.map((device, position) => ({
    index: device.index ?? position,
    uuid: device.uuid,
    gpuInstanceId: device.gpu_instance_id,
    computeInstanceId: device.compute_instance_id,
    memoryTotalMiB: totalMiB(device.fb_memory_usage.total),
    memoryFreeMiB: toMiB(device.fb_memory_usage.free),
  }));
  return {
    index,
    name,
    uuid: seen.uuid,
    pciAddress: seen["@id"],
    computeCapability: stated ?? deriveComputeCapability(name, seen.product_architecture),
    memoryTotalMiB: totalMiB(seen.fb_memory_usage.total),
    memoryFreeMiB: toMiB(seen.fb_memory_usage.free),
    memoryDenied: /insufficient permissions/i.test(seen.fb_memory_usage.total),
    addressingMode: seen.addressing_mode,
    computeProhibited: seen.compute_mode === "Prohibited",
    migEnabled: seen.mig_mode.current_mig.trim() === "Enabled" || migDevices.length > 0,
    migDevices,
  };
}

const unitMiB: Record<string, number> = { kib: 1 / 1024, mib: 1, gib: 1024 };

function toMiB(value: string): number | null {
  const match = /^(\d+(?:\.\d+)?)\s*(KiB|MiB|GiB)$/i.exec(value.trim());
  const factor = unitMiB[match?.[2]?.toLowerCase() ?? ""];
  return match === null || factor === undefined ? null : Math.floor(Number(match[1]) * factor);
}

/** A GPU without any memory does not exist: drivers write 0 where they do not know. */
function totalMiB(value: string): number | null {
  return toMiB(value) || null;
}
