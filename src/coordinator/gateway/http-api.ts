import type { IncomingMessage, ServerResponse } from "node:http";
import { MusterError, toMusterError } from "../../errors.ts";
import type { Counters } from "../metrics/counters.ts";
import type { Access } from "./access/access.ts";
import { NO_LIMITS } from "./access/client-keys.ts";
import { corsHeaders, mayAsk, preflightHeaders } from "./access/origin.ts";
import type { Answer, Call, Gateway } from "./answer.ts";
import { apiError, notFound, toAnswer } from "./api-error.ts";
import type { OpenRequests } from "./open-requests.ts";
import { openApiDocument } from "./openapi.ts";
import { refusal } from "./refusal.ts";
import { ROUTES, type Route } from "./routes.ts";

export interface HttpApiOptions {
  gateway: Gateway;
  access: Access;
  /** Origins whose pages may use the API. */
  corsOrigins: readonly string[];
  /** Hears of each request. */
  open: Pick<OpenRequests, "add">;
  counters: Pick<Counters, "refused">;
}

interface Match {
  route: Route;
  params: Record<string, string>;
}

const OPENAPI: Route = {
  ...{ method: "GET", path: "/openapi.json", access: "anyone", summary: "This document" },
  answers: { 200: { description: "OpenAPI 3.1" } },
  handle: () => ({ status: 200, body: openApiDocument(API_ROUTES) }),
};
/** All that is served. */
export const API_ROUTES: readonly Route[] = [...ROUTES, OPENAPI];

/** Answers HTTP requests by the table of routes. */
export function createHttpApi({ gateway, access, corsOrigins, open, counters }: HttpApiOptions) {
  const answer = async (
    request: IncomingMessage,
    response: ServerResponse,
    matched: (route: Route) => void,
  ): Promise<Answer | null> => {
    if (!mayAsk(request, { allowed: corsOrigins, isOpen: access.isOpen }))
      throw refusal("ACCESS_REFUSED", "Pages of this origin may not ask here.", "Allow it by CORS_ORIGINS.");
    if (request.method === "OPTIONS" && request.headers["access-control-request-method"])
      return { status: 204, body: null, headers: preflightHeaders(request) };
    for (const [name, value] of Object.entries(corsHeaders(request))) response.setHeader(name, value);
    const url = URL.parse(`http://coordinator${request.url}`);
    if (!url) return notFound(`There is no ${request.url}.`);
    const matches = matching(url.pathname);
    const isPublic = matches.some(({ route }) => route.access === "anyone");
    // Load balancers ask so whether this lives.
    const method = request.method === "HEAD" && isPublic ? "GET" : request.method;
    const found = matches.find(({ route }) => route.method === method);
    if (found) matched(found.route);
    const caller = isPublic ? null : access.caller(request);
    if (!found) return matches.length > 0 ? notAllowed(request, matches) : notFound(`There is no ${url.pathname}.`);
    const { route, params } = found;
    if (route.access === "admin" && !caller?.isAdmin)
      throw refusal("ACCESS_REFUSED", "This takes the token of an administrator.", "Use ADMIN_TOKEN.");
    // Public routes look at nobody.
    return route.handle({ request, response, url, params, gateway, caller: caller ?? NOBODY });
  };

  return function handle(request: IncomingMessage, response: ServerResponse): void {
    const requestId = idOf(request);
    response.setHeader("x-request-id", requestId);
    let route: Route | null = null;
    open.add(request, response, () => route?.path ?? null);
    answer(request, response, (matched) => {
      route = matched;
    })
      .catch((error: unknown) => {
        counters.refused(toMusterError(error).code);
        if (!(error instanceof MusterError) && !response.destroyed)
          gateway.log.error({ err: error, requestId }, "A request could not be answered");
        return toAnswer(error);
      })
      .then((given) => given && send(request, response, given));
  };
}

const NOBODY: Call["caller"] = { name: null, isAdmin: false, limits: NO_LIMITS, mayUse: () => false };

function send(request: IncomingMessage, response: ServerResponse, { status, body, headers }: Answer): void {
  // What of the request nobody has read.
  request.resume();
  if (response.destroyed || response.headersSent) return void response.destroy();
  response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store", ...headers });
  response.end(status === 204 ? undefined : `${JSON.stringify(body)}\n`);
}

function notAllowed({ method }: IncomingMessage, matches: Match[]): Answer {
  const allow = matches.map(({ route }) => route.method).join(", ");
  const body = apiError("method_not_allowed", `${method} is not allowed here; ${allow} is.`);
  return { status: 405, body, headers: { allow } };
}

/** The caller's own, so that both logs have the same, where it is fit for one. */
function idOf({ headers }: IncomingMessage): string {
  const given = headers["x-request-id"];
  return typeof given === "string" && /^[\w.:-]{1,128}$/.test(given) ? given : crypto.randomUUID();
}

const PATTERNS = API_ROUTES.map((route) => ({ route, segments: route.path.split("/") }));

function matching(path: string): Match[] {
  const all = path.split("/");
  return PATTERNS.flatMap(({ route, segments }) => {
    const end = segments.length - 1;
    const given = route.takesRest && all.length > end ? [...all.slice(0, end), all.slice(end).join("/")] : all;
    if (segments.length !== given.length) return [];
    const params: Record<string, string> = {};
    for (const [index, segment] of segments.entries()) {
      const value = given[index] ?? "";
      const [, name] = /^\{(\w+)\}$/.exec(segment) ?? [];
      if (name !== undefined && value !== "") params[name] = decoded(value);
      else if (segment !== value) return [];
    }
    return [{ route, params }];
  });
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
