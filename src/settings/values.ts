import { homedir } from "node:os";
import { resolve } from "node:path";
import * as z from "zod";

/** The forms a setting may have as text, and what they become. */

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, "": 1000 };
const LONG_UNITS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
export const text = z.string();
export const path = z.string().transform((value) => resolve(value.replace(/^~(?=\/|$)/, homedir())));
export const flag = z
  .stringFormat("flag", /^(1|0|true|false|yes|no|on|off)$/i)
  .transform((value) => /^(1|true|yes|on)$/i.test(value));
export const number = z.stringFormat("number", /^\d+(\.\d+)?$/).transform(Number);
/** Numbers with commas between them. */
export const numbers = z
  .stringFormat("numbers", /^\d+(\.\d+)?(\s*,\s*\d+(\.\d+)?)*$/)
  .transform((value) => value.split(",").map(Number));
export const port = z
  .stringFormat("port", /^\d{1,5}$/)
  .transform(Number)
  .refine((value) => value <= 65_535);
export const duration = z
  .stringFormat("duration", /^\d+(\.\d+)?(ms|s|m|h)?$/)
  .transform((value) => {
    const [, amount, unit] = /^([\d.]+)(ms|s|m|h)?$/.exec(value) ?? [];
    return Math.round(Number(amount) * (UNITS[unit ?? ""] ?? 1000));
  })
  // A timer cannot be set for much longer: it would fire at once.
  .refine((value) => value <= 596 * 3_600_000);
/** Milliseconds of what takes days; nothing sets a timer for it in one go. */
export const longDuration = z
  .stringFormat("duration", /^(0|\d+(\.\d+)?(s|m|h|d))$/)
  .transform((value) => Math.round(Number.parseFloat(value) * (LONG_UNITS[value.at(-1) ?? ""] ?? 0)));
/** Bytes a second, decimal units as links are sold by, or bits: 100MB/s, 1.5GB, 800Mbit/s. */
export const bandwidth = z
  .stringFormat("bandwidth", /^\d+(\.\d+)?([kMG]?B|[kMG]bit)(\/s)?$/)
  .transform((value) => {
    const [, amount, prefix, unit] = /^([\d.]+)([kMG]?)(B|bit)/.exec(value) ?? [];
    const bytes = Number(amount) * { "": 1, k: 1e3, M: 1e6, G: 1e9 }[prefix as "" | "k" | "M" | "G"];
    return unit === "bit" ? bytes / 8 : bytes;
  })
  // Less would leave every connection to the stall timer.
  .refine((value) => value >= 10_000);
/** One of these words, in any case. */
export const choice = <T extends string>(...words: [T, ...T[]]) => z.string().toLowerCase().pipe(z.enum(words));
export const httpUrl = z.string().refine((value) => isUrl(value, ["http:", "https:"]));
export const token = z.string().refine((value) => /^[\x21-\x7e]+$/.test(value.trim()));

export function isUrl(value: string, protocols: string[]): boolean {
  return URL.canParse(value) && protocols.includes(new URL(value).protocol);
}
