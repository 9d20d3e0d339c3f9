import { setTimeout as sleep } from "node:timers/promises";
import { type Content, piecesOf } from "./content.ts";
import { ClientLeft, type Exchange, sendHead, stall, write } from "./exchange.ts";
import { takeFault } from "./faults.ts";

export interface Body {
  content: Content;
  start: number;
  end: number;
  status: number;
  headers: Record<string, string | number>;
}

/** What the fault switches make of one body; byte counts are from the body's beginning. */
interface Plan {
  extra: number;
  dropAt: number;
  stallAt: number;
  stallMs: number | undefined;
  /** Offset in the file. */
  flipAt: number;
  bytesPerSecond: number;
}

/** Writes the head and the bytes [start, end) of a file. */
export async function sendBody(exchange: Exchange, body: Body): Promise<void> {
  if (exchange.req.method === "HEAD") {
    sendHead(exchange, body.status, { ...body.headers, "Content-Length": body.end - body.start });
    return void exchange.res.end();
  }
  const missing = takeFault(exchange.hub.faults, "shortBody", exchange.seen)?.missingBytes ?? 0;
  const end = Math.max(body.start, body.end - missing);
  const plan = makePlan(exchange, body.start, end);
  sendHead(exchange, body.status, { ...body.headers, "Content-Length": end - body.start + plan.extra });
  if (plan.stallAt === 0 || plan.dropAt === 0) {
    exchange.res.flushHeaders();
    await reached(exchange, plan, 0);
  }

  let at = body.start;
  for await (const piece of piecesOf(body.content, body.start, end)) {
    await sendPiece(exchange, plan, flipped(piece, plan.flipAt - at), at - body.start);
    at += piece.length;
  }
  if (plan.extra > 0) await sendPiece(exchange, plan, Buffer.alloc(plan.extra, "X"), at - body.start);
  exchange.res.end();
}

function makePlan({ hub: { faults }, seen }: Exchange, start: number, end: number): Plan {
  const extra = takeFault(faults, "longBody", seen)?.extraBytes ?? 0;
  const length = end - start + extra;
  const drop = takeFault(faults, "drop", seen, ({ afterBytes }) => afterBytes < length);
  const pause = takeFault(faults, "stallBody", seen, ({ afterBytes }) => afterBytes < length);
  const flip = takeFault(faults, "flipByte", seen, ({ offset }) => offset >= start && offset < end);
  return {
    extra,
    dropAt: drop?.afterBytes ?? Number.POSITIVE_INFINITY,
    stallAt: pause?.afterBytes ?? Number.POSITIVE_INFINITY,
    stallMs: pause?.ms,
    flipAt: flip?.offset ?? -1,
    bytesPerSecond: takeFault(faults, "slow", seen)?.bytesPerSecond ?? Number.POSITIVE_INFINITY,
  };
}

/** Sends a piece in as many parts as the plan's stops and its pace ask for. */
async function sendPiece(exchange: Exchange, plan: Plan, piece: Buffer, before: number): Promise<void> {
  const paced = Number.isFinite(plan.bytesPerSecond);
  const step = paced ? Math.max(1, Math.floor(plan.bytesPerSecond / 20)) : piece.length;
  let sent = before;
  for (let rest = piece; rest.length > 0; ) {
    const stop = Math.min(...[plan.dropAt, plan.stallAt].filter((at) => at > sent));
    const part = rest.subarray(0, Math.min(step, stop - sent));
    // Counted before it leaves: a client that has the last byte must find the full count in the log.
    exchange.seen.bytesSent += part.length;
    await write(exchange, part);
    sent += part.length;
    rest = rest.subarray(part.length);
    await reached(exchange, plan, sent);
    if (paced) await sleep((part.length / plan.bytesPerSecond) * 1000);
  }
}

async function reached(exchange: Exchange, plan: Plan, sent: number): Promise<void> {
  if (sent === plan.stallAt) await stall(exchange, plan.stallMs);
  if (sent === plan.dropAt) {
    exchange.req.socket.destroy();
    throw new ClientLeft();
  }
}

function flipped(piece: Buffer, offset: number): Buffer {
  if (offset < 0 || offset >= piece.length) return piece;
  const copy = Buffer.from(piece);
  copy[offset]! ^= 0xff;
  return copy;
}
