import type { IncomingMessage, ServerResponse } from "node:http";
import { ClientLeft, type Exchange, type HubState, Refusal, sendRefusal, stall } from "./exchange.ts";
import { takeFault } from "./faults.ts";
import type { HostName, HubRequest } from "./request-log.ts";

interface Arrival {
  host: HostName;
  route: (exchange: Exchange) => Promise<void>;
  req: IncomingMessage;
  res: ServerResponse;
}

let serial = 0;

/** Notes a request, lets the hook and the faults at it, and answers it or says why not. */
export async function answer(hub: HubState, { host, route, req, res }: Arrival): Promise<void> {
  const seen = describe(host, req);
  const exchange: Exchange = { hub, req, res, seen };
  res.once("close", hub.log.begin(seen));
  res.setHeader("X-Request-Id", `fake-${++serial}`);
  try {
    await hub.onRequest?.(seen);
    await interfere(exchange);
    await route(exchange);
  } catch (error) {
    if (error instanceof ClientLeft) return;
    const refusal = error instanceof Refusal ? error : new Refusal(500, `fake hub: ${String(error)}`);
    if (res.headersSent) req.socket.destroy();
    else sendRefusal(exchange, refusal);
  }
}

function describe(host: HostName, req: IncomingMessage): HubRequest {
  const [path = "", query = ""] = splitOnce(req.url ?? "/", "?");
  const { authorization, range } = req.headers;
  const token = /^Bearer (.+)$/.exec(authorization ?? "")?.[1];
  return {
    host,
    method: req.method ?? "",
    path,
    query,
    range,
    authorization: authorization !== undefined,
    ...(token !== undefined && { token }),
    status: 0,
    bytesSent: 0,
    at: performance.now(),
  };
}

/** The faults that replace or delay any answer, whatever was asked for. */
async function interfere(exchange: Exchange): Promise<void> {
  const { hub, seen, req } = exchange;
  if (takeFault(hub.faults, "refuse", seen)) {
    req.socket.destroy();
    throw new ClientLeft();
  }
  const clock = takeFault(hub.faults, "wrongClock", seen);
  if (clock) exchange.res.setHeader("Date", new Date(Date.now() + clock.aheadMs).toUTCString());
  const pause = takeFault(hub.faults, "stallStart", seen);
  if (pause) await stall(exchange, pause.ms);
  const limit = takeFault(hub.faults, "rateLimit", seen);
  if (limit) throw new Refusal(429, "We had to rate limit you.", limitHeaders(seen.host, limit));
  const failure = takeFault(hub.faults, "serverError", seen);
  if (failure) {
    const { status = 503, retryAfter } = failure;
    throw new Refusal(status, "Internal Error - We're working hard to fix this as soon as possible!", {
      ...(retryAfter !== undefined && { "Retry-After": retryAfter }),
    });
  }
}

function limitHeaders(
  host: HostName,
  { seconds = 1, quota = 1000, retryAfter }: { seconds?: number; quota?: number; retryAfter?: string },
): Record<string, string> {
  if (host === "cdn") return { "Retry-After": retryAfter ?? String(seconds) };
  return {
    RateLimit: `"api";r=0;t=${seconds}`,
    "RateLimit-Policy": `"fixed window";"api";q=${quota};w=300`,
    ...(retryAfter !== undefined && { "Retry-After": retryAfter }),
  };
}

function splitOnce(text: string, mark: string): [string, string] {
  const at = text.indexOf(mark);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}
