import * as z from "zod";
import { type AmdAnswer, type AmdCard, toUniqueId } from "./amd-card.ts";

/**
 * What `amd-smi static`, `amd-smi metric --mem-usage` and `amd-smi version` print with --json, or null where the first
 * is not understood. The other two may be missing: free memory and the ROCm version are then unknown.
 */
export function parseAmdSmi(json: { static: unknown; metric: unknown; version: unknown }): AmdAnswer | null {
  const gpus = unwrap(staticGpu).safeParse(json.static);
  if (!gpus.success) return null;
  const metrics = unwrap(metricGpu).catch([]).parse(json.metric);
  const cards = gpus.data.map((gpu, position): AmdCard => {
    const index = gpu.gpu ?? position;
    const usage = metrics.find((metric, at) => (metric.gpu ?? at) === index)?.mem_usage;
    return {
      index,
      name: gpu.asic.market_name ?? "AMD GPU",
      uniqueId: toUniqueId(gpu.asic.asic_serial),
      pciAddress: gpu.bus.bdf,
      memoryTotalMiB: gpu.vram.size ?? gpu.vram.vram_size_mb ?? usage?.total_vram ?? null,
      memoryFreeMiB: usage?.free_vram ?? null,
    };
  });
  const driver = gpus.data[0]?.driver;
  return {
    cards,
    driverVersion: driver?.version ?? driver?.driver_version ?? null,
    rocmVersion:
      z
        .array(z.object({ rocm_version: text }))
        .catch([])
        .parse(json.version)[0]?.rocm_version ?? null,
  };
}

const text = z
  .string()
  .transform((value) => (value === "" || value === "N/A" ? null : value))
  .catch(null);

/** AMD's MB are MiB. Newer versions print {"value": 196592, "unit": "MB"}, older ones 196592 or "196592 MB". */
const measure = z.object({ value: z.union([z.number(), z.string()]), unit: z.string() });
const mebibytes = z
  .union([z.number(), z.string(), measure.transform(({ value, unit }) => `${value} ${unit}`)])
  .transform((value) => {
    const match = /^(\d+(?:\.\d+)?)(?: (MB|GB|MiB|GiB))?$/.exec(String(value));
    if (match === null) return null;
    return Math.floor(Number(match[1]) * (match[2]?.startsWith("G") === true ? 1024 : 1));
  })
  .catch(null);

const index = z.number().int().nonnegative().nullable().catch(null);

const staticGpu = z.object({
  gpu: index,
  asic: z.object({ market_name: text, asic_serial: text }).catch({ market_name: null, asic_serial: null }),
  bus: z.object({ bdf: text }).catch({ bdf: null }),
  vram: z.object({ size: mebibytes, vram_size_mb: mebibytes }).catch({ size: null, vram_size_mb: null }),
  driver: z.object({ version: text, driver_version: text }).catch({ version: null, driver_version: null }),
});

const metricGpu = z.object({
  gpu: index,
  mem_usage: z.object({ total_vram: mebibytes, free_vram: mebibytes }).catch({ total_vram: null, free_vram: null }),
});

/** The list of GPUs, which newer versions put into {"gpu_data": …}. */
function unwrap<T extends z.ZodType>(gpu: T) {
  return z.union([z.array(gpu), z.object({ gpu_data: z.array(gpu) }).transform((outer) => outer.gpu_data)]);
}
