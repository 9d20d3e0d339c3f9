import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { nodeHttp } from "../../node-http.ts";
import { SUBPROTOCOL } from "../../protocol.ts";
import type { Access } from "../gateway/access/access.ts";
import { mayAsk } from "../gateway/access/origin.ts";
import type { Answer } from "../gateway/answer.ts";
import { apiError, toAnswer } from "../gateway/api-error.ts";
import { refusal } from "../gateway/refusal.ts";

export interface UpgradeRules {
  access: Access;
  /** Workers show a certificate that our authority has signed. */
  needsCertificate: boolean;
}

/** Answers an upgrade that may not become a session in plain HTTP; false where nothing stands against it. */
export function refuseUpgrade(request: IncomingMessage, socket: Duplex, rules: UpgradeRules): boolean {
  try {
    check(request, socket, rules);
  } catch (error) {
    answer(socket, toAnswer(error));
    return true;
  }
  const offered = (request.headers["sec-websocket-protocol"] ?? "").split(",").map((name) => name.trim());
  if (offered.includes(SUBPROTOCOL)) return false;
  const body = apiError("unsupported_protocol", `The WebSocket subprotocol has to be ${SUBPROTOCOL}.`);
  answer(socket, { status: 400, body });
  return true;
}

function check(request: IncomingMessage, socket: Duplex, { access, needsCertificate }: UpgradeRules): void {
  // A worker is no page: a browser has no business here.
  if (!mayAsk(request, { allowed: [], isOpen: access.workersAreOpen }) || request.headers.origin !== undefined)
    throw refusal("ACCESS_REFUSED", "Pages may not connect as workers.", "Connect by `muster start`.");
  if (needsCertificate && !(socket instanceof TLSSocket && socket.authorized))
    throw refusal("TOKEN_INVALID", "Workers show a client certificate here.", "Set COORDINATOR_CERT_FILE.");
  access.worker(request);
}

function answer(socket: Duplex, { status, body, headers = {} }: Answer): void {
  const text = `${JSON.stringify(body)}\n`;
  const head = [
    `HTTP/1.1 ${status} ${nodeHttp().STATUS_CODES[status]}`,
    "Content-Type: application/json",
    `Content-Length: ${Buffer.byteLength(text)}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    "Connection: close",
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${text}`, () => socket.destroy());
}
