import { type Dispatcher, request } from "undici";
import type { MusterError } from "../errors.ts";
import { networkError } from "../fetch/http-errors.ts";

/** How long a check waits for an answer. */
export const TRY_MS = 5_000;

/** Whether and how fast anything answers there; the dispatcher is used up. */
export async function knock(
  url: string,
  { dispatcher, headers = {} }: { dispatcher: Dispatcher; headers?: Record<string, string> },
): Promise<{ status: number; ms: number } | { error: MusterError }> {
  const startedAt = performance.now();
  try {
    const answer = await request(url, { headers, dispatcher });
    await answer.body.dump();
    return { status: answer.statusCode, ms: Math.round(performance.now() - startedAt) };
  } catch (error) {
    return { error: networkError(error, url) };
  } finally {
    await dispatcher.destroy();
  }
}
