import { setTimeout as sleep } from "node:timers/promises";
import { Agent, request } from "undici";
import { chat } from "../jobs/chat.ts";

/** Asks coordinators in turn for a small chat each, over connections that stay open. */
export interface BenchClient {
  /** To the end of the answer. */
  ask(): Promise<void>;
  close(): Promise<void>;
}

export const AT_ONCE = 64;

export function openClient(addresses: readonly string[]): BenchClient {
  const api = new Agent({ connections: AT_ONCE, pipelining: 1 });
  const body = JSON.stringify({ ...chat(1), model: "echo" });
  const headers = { "content-type": "application/json" };
  let turn = 0;
  return {
    async ask() {
      turn += 1;
      const url = `http://${addresses[turn % addresses.length]}/v1/chat/completions`;
      const answer = await request(url, { method: "POST", headers, body, dispatcher: api });
      if (answer.statusCode !== 200) throw new Error(`${answer.statusCode} ${await answer.body.text()}`);
      await answer.body.dump();
    },
    close: () => api.destroy(),
  };
}

/** Settles once the URL is answered with 200. */
export async function answering(url: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    const answer = await fetch(url).catch(() => null);
    if (answer?.ok) return;
    await sleep(50, undefined, { signal });
  }
}
