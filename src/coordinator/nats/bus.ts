import type { Msg, Subscription } from "@nats-io/transport-node";
import type { NatsLink } from "./link.ts";

interface Piece {
  /** Of which message, which of its pieces, and of how many. */
  of: string;
  n: number;
  pieces: number;
  text: string;
}

/** What a message of NATS has beside its text. */
const AROUND_BYTES = 1024;

/** Tells it to who listens now, in pieces where it is longer than a message may be. Pieces of one sender come in order. */
export function tellAll(link: NatsLink, subject: string, data: unknown): void {
  const text = JSON.stringify(data);
  // Escaped once more, a character may take two bytes of JSON, or three of UTF-8.
  const most = Math.floor(((link.connection.info?.max_payload ?? 0) - AROUND_BYTES) / 6);
  if (text.length <= most) {
    link.tell(subject, data);
    return;
  }
  const pieces = Math.ceil(text.length / most);
  const of = crypto.randomUUID();
  for (let n = 0; n < pieces; n += 1)
    link.tell(subject, { of, n, pieces, text: text.slice(n * most, (n + 1) * most) } satisfies Piece);
}

/** Calls with each message in the order in which it came. */
export function listen<T>(link: NatsLink, subject: string, take: (data: T, message: Msg) => void): Subscription {
  let parts: Piece[] = [];
  return link.connection.subscribe(subject, {
    callback: (error, message) => {
      if (error) return;
      const data = message.json<T | Piece>();
      if (!isPiece(data)) return take(data, message);
      if (data.n === 0 || parts[0]?.of === data.of) parts = data.n === 0 ? [data] : [...parts, data];
      if (parts.length !== data.pieces || parts[0]?.of !== data.of) return;
      const whole = parts.map(({ text }) => text).join("");
      parts = [];
      take(JSON.parse(whole) as T, message);
    },
  });
}

function isPiece(data: unknown): data is Piece {
  return typeof data === "object" && data !== null && "of" in data && "pieces" in data;
}
