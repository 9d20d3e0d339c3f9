import * as z from "zod";

export interface XpuDevice {
  id: number;
  name: string;
  uuid: string | null;
  pciAddress: string | null;
}

export interface XpuDetails {
  driverVersion: string | null;
  memoryTotalBytes: number | null;
  memoryFreeBytes: number | null;
}

/** The devices in `xpu-smi discovery -j`, or null where that is not understood. */
export function parseXpuDiscovery(json: unknown): XpuDevice[] | null {
  const parsed = discovery.safeParse(json);
  if (!parsed.success) return null;
  return parsed.data.device_list
    .filter((device) => device.device_function_type !== "virtual")
    .map((device, position) => ({
      id: device.device_id ?? position,
      name: device.device_name ?? "Intel GPU",
      uuid: device.uuid,
      pciAddress: device.pci_bdf_address,
    }));
}

/**
 * One device in `xpu-smi discovery -d N -j`, with the memory in use from `xpu-smi stats -d N -j`. A device with several
 * tiles reports its memory per tile.
 */
export function parseXpuDetails(json: { discovery: unknown; stats: unknown }): XpuDetails {
  const facts = details.parse(json.discovery);
  const total = facts.memory_physical_size_byte === 0 ? null : facts.memory_physical_size_byte;
  const { device_level, tile_level } = stats.parse(json.stats);
  const usedMiB = memoryUsed(device_level) ?? sum(tile_level.map((tile) => memoryUsed(tile.data_list)));
  const free = total === null || usedMiB === null ? null : Math.max(0, total - usedMiB * 1024 * 1024);
  return {
    driverVersion: facts.driver_version,
    memoryTotalBytes: total,
    memoryFreeBytes: free ?? facts.memory_free_size_byte,
  };
}

const text = z
  .string()
  .transform((value) => (/^(N\/A|unknown|)$/i.test(value.trim()) ? null : value.trim()))
  .catch(null);

/** Numbers come as text in some versions. */
const number = z
  .union([
    z.number(),
    z
      .string()
      .regex(/^\d+(\.\d+)?$/)
      .transform(Number),
  ])
  .nullable()
  .catch(null);

const discovery = z.object({
  device_list: z.array(
    z.object({
      device_id: number,
      device_name: text,
      device_function_type: text,
      uuid: text,
      pci_bdf_address: text,
    }),
  ),
});

const unknownDetails = { driver_version: null, memory_physical_size_byte: null, memory_free_size_byte: null };
const details = z
  .object({ driver_version: text, memory_physical_size_byte: number, memory_free_size_byte: number })
  .catch(unknownDetails);

const metrics = z.array(z.object({ metrics_type: text, value: number })).catch([]);
const stats = z
  .object({ device_level: metrics, tile_level: z.array(z.object({ data_list: metrics })).catch([]) })
  .catch({ device_level: [], tile_level: [] });

function memoryUsed(list: z.infer<typeof metrics>): number | null {
  return list.find((metric) => metric.metrics_type === "XPUM_STATS_MEMORY_USED")?.value ?? null;
}

/** Null where a part is unknown, or there is none. */
function sum(parts: (number | null)[]): number | null {
  return parts.length === 0 ? null : parts.reduce((a, b) => (a === null || b === null ? null : a + b), 0);
}
