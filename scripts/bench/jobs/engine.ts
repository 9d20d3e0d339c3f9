import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** An OpenAI engine that takes no time. Prints its port. */

interface Asked {
  /** So many pieces it answers with. */
  max_tokens?: number;
  /** All at once where not given. */
  per_second?: number;
}

const piece = (delta: object, finish: string | null) =>
  `data: ${JSON.stringify({
    ...{ id: "c", object: "chat.completion.chunk", created: 1, model: "echo" },
    choices: [{ index: 0, delta, finish_reason: finish }],
  })}\n\n`;
const text = piece({ content: "word " }, null);
const end = `${piece({}, "stop")}data: [DONE]\n\n`;

const server = createServer(async (request, response) => {
  if (request.method === "GET") {
    response.end(JSON.stringify({ object: "list", data: [{ id: "echo", object: "model" }] }));
    return;
  }
  let body = "";
  for await (const chunk of request) body += chunk;
  const { max_tokens: pieces = 1, per_second: perSecond } = JSON.parse(body) as Asked;
  response.writeHead(200, { "content-type": "text/event-stream" });
  for (let sent = 0; sent < pieces; sent += 1) {
    response.write(text);
    if (perSecond) await sleep(1000 / perSecond);
  }
  response.end(end);
}).listen(0, "127.0.0.1");
await once(server, "listening");
process.stdout.write(`${(server.address() as AddressInfo).port}\n`);
