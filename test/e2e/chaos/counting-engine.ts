import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Random } from "../../../scripts/seeded-random.ts";

/** An OpenAI engine that fails at times, and knows of each job how often it ran, and whether twice at once. */
export interface CountingEngine extends AsyncDisposable {
  url: string;
  /** Runs that began, by what the last message says. */
  runs: Map<string, number>;
  /** Jobs that ran twice at once. */
  overlaps: string[];
}

const MODEL = "echo";

export async function startCountingEngine(random: Random): Promise<CountingEngine> {
  const runs = new Map<string, number>();
  const running = new Set<string>();
  const overlaps: string[] = [];

  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const json = (status: number, body: unknown) =>
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    if (request.url?.endsWith("/models")) return json(200, { object: "list", data: [{ id: MODEL, object: "model" }] });
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { messages = [], stream } = JSON.parse(Buffer.concat(chunks).toString());
    const name = String(messages.at(-1)?.content ?? "");
    // The agent's own call when it warms the model up.
    if (!name.startsWith("job-")) return json(200, completion("warm"));
    if (running.has(name)) overlaps.push(name);
    running.add(name);
    runs.set(name, (runs.get(name) ?? 0) + 1);
    // Ended, or its caller is gone: only then another may run it.
    response.once("close", () => running.delete(name));
    await sleep(random.between(2, 60));
    const luck = random.next();
    if (luck < 0.03) return json(503, { error: { message: "busy", type: "server_error", code: null } });
    if (luck < 0.05) return json(500, { error: { message: "it fell over", type: "server_error", code: null } });
    if (luck < 0.07) return response.destroy();
    if (!stream) return json(200, completion(name));
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const piece of [name.slice(0, 4), name.slice(4)]) {
      response.write(`data: ${JSON.stringify(chunk({ content: piece }, null))}\n\n`);
      await sleep(random.between(0, 10));
    }
    if (luck < 0.09) return response.destroy();
    response.end(`data: ${JSON.stringify(chunk({}, "stop"))}\n\ndata: [DONE]\n\n`);
  };

  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    runs,
    overlaps,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

function completion(content: string) {
  return {
    ...{ id: "c", object: "chat.completion", created: 1, model: MODEL },
    choices: [{ index: 0, message: { role: "assistant", content }, finish_reason: "stop" }],
    usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
  };
}

function chunk(delta: object, finishReason: string | null) {
  return {
    ...{ id: "c", object: "chat.completion.chunk", created: 1, model: MODEL },
    choices: [{ index: 0, delta, finish_reason: finishReason }],
  };
}
