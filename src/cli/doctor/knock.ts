import { Agent, type Dispatcher, request } from "undici";
import type { MusterError } from "../../errors.ts";
import { networkError } from "../../fetch/http-errors.ts";
import type { Check } from "./check.ts";

/** How long a check waits for an answer. */
export const TRY_MS = 5_000;
/** Longer than this, and every question of a plan is felt. */
const SLOW_MS = 1_000;

export interface Heard {
  status: number;
  text: string;
  latencyMs: number;
  clockAheadMs?: number;
}

/** Whether and how fast anything answers there; the dispatcher is used up. */
export async function knock(
  url: string,
  { dispatcher, headers = {} }: { dispatcher: Dispatcher; headers?: Record<string, string> },
): Promise<Heard | { error: MusterError }> {
  const startedAt = performance.now();
  try {
    const answer = await request(url, { headers, dispatcher });
    const text = (await answer.body.text()).slice(0, 10_000);
    const latencyMs = Math.round(performance.now() - startedAt);
    return { status: answer.statusCode, text, latencyMs, ...clockOf(answer.headers.date, latencyMs) };
  } catch (error) {
    return { error: networkError(error, url) };
  } finally {
    await dispatcher.destroy();
  }
}

/** The Date of an answer has whole seconds, and was true somewhere between the question and now. */
export function clockOf(date: unknown, latencyMs: number): Pick<Check, "clockAheadMs"> {
  const said = Date.parse(String(date));
  if (Number.isNaN(said)) return {};
  const [earliest, latest] = [said - Date.now(), said + 1000 - (Date.now() - latencyMs)];
  return { clockAheadMs: earliest > 0 ? earliest : latest < 0 ? latest : 0 };
}

/** `… answers in 12 ms`, with a warning where that is slow. */
export function answering(
  name: string,
  where: string,
  { latencyMs, clockAheadMs }: Omit<Heard, "status" | "text">,
): Check {
  const heard = { latencyMs, ...(clockAheadMs !== undefined && { clockAheadMs }) };
  const found = `${where} answers in ${latencyMs} ms`;
  if (latencyMs < SLOW_MS) return { name, result: "ok", found, ...heard };
  const host = URL.canParse(where) ? new URL(where).hostname : where;
  return { name, result: "warn", found, hint: `That is slow: look at the way there with \`ping ${host}\`.`, ...heard };
}

/** The way the agent takes to its coordinator and its engines: past any proxy. */
export function direct(tls: { ca?: string; cert?: string; key?: string } = {}): Dispatcher {
  return new Agent({ headersTimeout: TRY_MS, bodyTimeout: TRY_MS, connect: { timeout: TRY_MS, ...tls } });
}
