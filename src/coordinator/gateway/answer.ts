import type { IncomingMessage } from "node:http";
import { apiError } from "./api-error.ts";

/** What a request is answered with; the body as JSON. */
export interface Answer {
  status: number;
  body: unknown;
  headers?: Record<string, string>;
}

export function only<A extends Answer | Promise<Answer>>(
  method: string,
  request: IncomingMessage,
  then: () => A,
): A | Answer {
  if (request.method === method) return then();
  const body = apiError("method_not_allowed", `${request.method} is not allowed here; ${method} is.`);
  return { status: 405, body, headers: { allow: method } };
}

export function notFound(message: string): Answer {
  return { status: 404, body: apiError("not_found", message) };
}
