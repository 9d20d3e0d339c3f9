import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { nodeHttp } from "../../node-http.ts";
import { SUBPROTOCOL } from "../../protocol.ts";
import { apiError, UNAUTHORIZED } from "../gateway/api-error.ts";
import { isAuthorized } from "../gateway/authorize.ts";

/** Answers an upgrade that may not become a session in plain HTTP; false where nothing stands against it. */
export function refuseUpgrade(request: IncomingMessage, socket: Duplex, workerToken: string | null): boolean {
  const offered = (request.headers["sec-websocket-protocol"] ?? "").split(",").map((name) => name.trim());
  if (!isAuthorized(request, workerToken)) answer(socket, { status: 401, body: UNAUTHORIZED });
  else if (!offered.includes(SUBPROTOCOL)) {
    const body = apiError("unsupported_protocol", `The WebSocket subprotocol has to be ${SUBPROTOCOL}.`);
    answer(socket, { status: 400, body });
  } else return false;
  return true;
}

function answer(socket: Duplex, { status, body }: { status: number; body: unknown }): void {
  const text = `${JSON.stringify(body)}\n`;
  const head = [
    `HTTP/1.1 ${status} ${nodeHttp().STATUS_CODES[status]}`,
    "Content-Type: application/json",
    `Content-Length: ${Buffer.byteLength(text)}`,
    ...(status === 401 ? ["WWW-Authenticate: Bearer"] : []),
    "Connection: close",
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${text}`, () => socket.destroy());
}
