import type { IncomingMessage } from "node:http";

export interface OriginRules {
  /** Origins whose pages may ask, as they name themselves; "*": all. */
  allowed: readonly string[];
  /** Whoever can reach this may use it: then a page's own host name is no proof either. */
  isOpen: boolean;
}

/**
 * Whether a page that made this request may have the answer. Programs name no origin; pages of this coordinator itself
 * name the host that they ask.
 */
export function mayAsk({ headers }: Pick<IncomingMessage, "headers">, { allowed, isOpen }: OriginRules): boolean {
  const { origin, host = "" } = headers;
  // A name that a stranger's server resolves to this machine makes its pages look like ours.
  if (isOpen && !isLoopback(host)) return false;
  if (origin === undefined || allowed.includes("*") || allowed.includes(origin)) return true;
  return URL.canParse(origin) && new URL(origin).host === host;
}

function isLoopback(host: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i.test(host);
}

/** What tells a browser that the page may read the answer; nothing where it need not be told. */
export function corsHeaders({ headers }: Pick<IncomingMessage, "headers">): Record<string, string> {
  if (headers.origin === undefined) return {};
  return {
    "access-control-allow-origin": headers.origin,
    "access-control-expose-headers": "x-request-id, x-muster-job-id, x-muster-worker-id, retry-after, location",
    vary: "origin",
  };
}

/** The answer to what a browser asks before it sends the request itself. */
export function preflightHeaders(request: Pick<IncomingMessage, "headers">): Record<string, string> {
  return {
    ...corsHeaders(request),
    "access-control-allow-methods": "GET, POST, DELETE",
    "access-control-allow-headers": request.headers["access-control-request-headers"] ?? "authorization, content-type",
    "access-control-max-age": "600",
  };
}
