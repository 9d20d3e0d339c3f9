import type { Call } from "./answer.ts";
import { refusal } from "./refusal.ts";

/** A day, in milliseconds. */
export const MAX_TIMEOUT_MS = 86_400_000;
export const PRIORITIES = { least: -100, most: 100 };

/** What headers say of a job that the body has no place for: `x-muster-priority`, `x-muster-timeout-ms`. */
export function orderOf(call: Call): { priority: number; timeoutMs?: number } {
  const priority = wholeNumber(call, "x-muster-priority", PRIORITIES) ?? 0;
  const timeoutMs = wholeNumber(call, "x-muster-timeout-ms", { least: 1, most: MAX_TIMEOUT_MS });
  return { priority: allowedPriority(call, priority), ...(timeoutMs === undefined ? {} : { timeoutMs }) };
}

/** No higher than the key's own. */
export function allowedPriority({ caller }: Call, wanted: number): number {
  return caller.isAdmin ? wanted : Math.min(wanted, caller.limits.priority);
}

function wholeNumber({ request }: Call, name: string, { least, most }: { least: number; most: number }) {
  const given = request.headers[name];
  if (given === undefined) return undefined;
  const value = Number(given);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw refusal("INVALID_INPUT", `${name}: must be a whole number from ${least} to ${most}`, "Correct this header.");
}
