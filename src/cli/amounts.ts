import { InvalidArgumentError } from "commander";

/** Amounts as they are given on the command line. */

const DURATIONS: Record<string, number> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };
const SIZES: Record<string, number> = {
  "": 1,
  ...{ k: 1e3, M: 1e6, G: 1e9, T: 1e12 },
  ...{ Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40 },
};

/** `30d` in milliseconds. */
export function age(text: string): number {
  const [, amount, unit = ""] = /^(\d+(?:\.\d+)?)([smhdw])$/.exec(text) ?? [];
  if (amount === undefined) throw new InvalidArgumentError("Allowed: a number and s, m, h, d or w, such as 30d.");
  return Number(amount) * (DURATIONS[unit] ?? 0);
}

/** An age such as `7d`, or a date. */
export function since(text: string): { ago: number } | { at: number } {
  const at = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(at)) return { at };
  if (/^\d+(\.\d+)?[smhdw]$/.test(text)) return { ago: age(text) };
  throw new InvalidArgumentError("Allowed: an age such as 7d, or a date such as 2026-11-01 or 2026-11-01T08:00:00Z.");
}

/** `500GB` in bytes; decimal units, or binary ones such as GiB. */
export function size(text: string): number {
  const [, amount, unit = ""] = /^(\d+(?:\.\d+)?) ?((?:[kMGT]|[KMGT]i)?)B$/.exec(text) ?? [];
  if (amount === undefined)
    throw new InvalidArgumentError("Allowed: a number and B, kB, MB, GB, TB, or GiB and so on.");
  return Number(amount) * (SIZES[unit] ?? 0);
}

/** `200MB/s` in bytes a second. */
export function rate(text: string): number {
  const value = size(text.replace(/\/s$/, ""));
  if (value < 1e5) throw new InvalidArgumentError("Allowed: at least 100kB/s.");
  return value;
}

/** For options that may be given several times. */
export function several(text: string, before: string[] = []): string[] {
  return [...before, text];
}
