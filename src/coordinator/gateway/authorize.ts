import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";

/** Whether the request carries the bearer token; compared in constant time, whatever the lengths are. */
export function isAuthorized(request: IncomingMessage, token: string | null): boolean {
  // Without a token only this machine gets in, but so would any page in its browser, which names its origin.
  if (token === null) return request.headers.origin === undefined;
  const given = /^bearer +(\S+) *$/i.exec(request.headers.authorization ?? "")?.[1];
  return given !== undefined && timingSafeEqual(digest(given), digest(token));
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
