import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/** An OpenAI engine that takes no time: it streams as many pieces as `max_tokens` says, at once. Prints its port. */

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
  const pieces = Number(JSON.parse(body).max_tokens ?? 1);
  response.writeHead(200, { "content-type": "text/event-stream" });
  for (let sent = 0; sent < pieces; sent += 1) response.write(text);
  response.end(end);
}).listen(0, "127.0.0.1");
await once(server, "listening");
process.stdout.write(`${(server.address() as AddressInfo).port}\n`);
