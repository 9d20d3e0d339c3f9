import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";

/** Secrets are kept as their digests, and compared in constant time, whatever their lengths are. */

export function digestOf(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}

/** The digest of the bearer token of a request; null where it has none. */
export function bearerOf({ headers }: Pick<IncomingMessage, "headers">): Buffer | null {
  const given = /^bearer +(\S+) *$/i.exec(headers.authorization ?? "")?.[1];
  return given === undefined ? null : digestOf(given);
}

export function isSame(given: Buffer | null, expected: Buffer | null): boolean {
  return given !== null && expected !== null && timingSafeEqual(given, expected);
}
