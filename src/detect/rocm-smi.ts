import * as z from "zod";
import { type AmdAnswer, type AmdCard, toUniqueId } from "./amd-card.ts";

const MIB = 1024 * 1024;

/**
 * What `rocm-smi --showproductname --showmeminfo vram --showbus --showuniqueid --showdriverversion --json` prints, or
 * null where that is not understood. Labels are written with different capitals by different versions.
 */
export function parseRocmSmi(json: unknown): AmdAnswer | null {
  const parsed = report.safeParse(json);
  if (!parsed.success) return null;
  const cards = Object.entries(parsed.data).flatMap(([key, fields]): AmdCard[] => {
    const index = /^card(\d+)$/.exec(key)?.[1];
    return index === undefined ? [] : [toCard(Number(index), fields)];
  });
  const system = parsed.data.system ?? {};
  return {
    cards: cards.sort((a, b) => a.index - b.index),
    driverVersion: find(system, "driver version"),
    rocmVersion: null,
  };
}

const report = z.record(z.string(), z.record(z.string(), z.unknown()).catch({}));

function toCard(index: number, fields: Record<string, unknown>): AmdCard {
  const total = bytes(fields, "vram total memory (b)");
  const used = bytes(fields, "vram total used memory (b)");
  return {
    index,
    name: find(fields, "card series") ?? find(fields, "device name") ?? find(fields, "card model") ?? "AMD GPU",
    uniqueId: toUniqueId(find(fields, "unique id")),
    pciAddress: find(fields, "pci bus"),
    memoryTotalMiB: total === null || total === 0 ? null : Math.floor(total / MIB),
    memoryFreeMiB: total === null || used === null ? null : Math.floor(Math.max(0, total - used) / MIB),
  };
}

function find(fields: Record<string, unknown>, label: string): string | null {
  const value = Object.entries(fields).find(([key]) => key.toLowerCase() === label)?.[1];
  return typeof value === "string" && value !== "" && value !== "N/A" ? value : null;
}

function bytes(fields: Record<string, unknown>, label: string): number | null {
  const value = find(fields, label);
  return value !== null && /^\d+$/.test(value) ? Number(value) : null;
}
