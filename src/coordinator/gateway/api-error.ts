import { type ErrorCode, toMusterError } from "../../errors.ts";
import type { JobRecord } from "../jobs/job-record.ts";
import type { Answer } from "./answer.ts";

interface ApiErrorForm {
  status: number;
  type: string;
  /** As OpenAI has it, where it has one. */
  code: string;
}

const wrong = (code: string, status = 400): ApiErrorForm => ({ status, type: "invalid_request_error", code });
const trouble = (status: number, code: string): ApiErrorForm => ({ status, type: "server_error", code });
const limit = (code: string): ApiErrorForm => ({ status: 429, type: "rate_limit_error", code });

/** What each error is over HTTP. Those of jobs first; whatever is not here is 500. */
const FORMS: Partial<Record<ErrorCode, ApiErrorForm>> = {
  INVALID_INPUT: wrong("invalid_request"),
  UNSUPPORTED: wrong("unsupported"),
  PAYLOAD_TOO_LARGE: wrong("payload_too_large", 413),
  // Not one of those that clients send again by themselves: somebody wanted it to end.
  CANCELLED: wrong("job_cancelled", 410),
  BUSY: trouble(503, "busy"),
  MODEL_NOT_READY: trouble(503, "model_not_ready"),
  DRAINING: trouble(503, "worker_draining"),
  OUT_OF_MEMORY: trouble(503, "out_of_memory"),
  ENGINE_DOWN: trouble(502, "engine_down"),
  GPU_LOST: trouble(502, "gpu_lost"),
  LEASE_LOST: trouble(502, "worker_lost"),
  RESPONSE_INVALID: trouble(502, "invalid_answer"),
  TIMEOUT: trouble(504, "timeout"),
  STORE_UNAVAILABLE: trouble(503, "store_unavailable"),
  QUEUE_FULL: limit("queue_full"),
  RATE_LIMITED: limit("rate_limit_exceeded"),
  QUOTA_EXCEEDED: limit("insufficient_quota"),
  JOB_EXISTS: wrong("idempotency_key_reused", 422),
  MODEL_UNKNOWN: wrong("model_not_found", 404),
  TOKEN_INVALID: { status: 401, type: "authentication_error", code: "invalid_api_key" },
  ACCESS_REFUSED: { status: 403, type: "permission_error", code: "permission_denied" },
};
const UNKNOWN: ApiErrorForm = trouble(500, "internal_error");

/** Where nothing better is known of when it may work. */
const RETRY_SECONDS = 5;

/** An error in the form that OpenAI clients read. */
export function apiError(code: string, message: string, type = "invalid_request_error") {
  return { error: { message, type, param: null, code } };
}

export function notFound(message: string): Answer {
  return { status: 404, body: apiError("not_found", message) };
}

/** The body for an error with one of our codes. */
export function errorBody(code: ErrorCode, message: string) {
  const form = FORMS[code] ?? UNKNOWN;
  return apiError(form.code, message, form.type);
}

export function errorAnswer(code: ErrorCode, message: string, retryAfterMs?: number): Answer {
  const { status } = FORMS[code] ?? UNKNOWN;
  const seconds = Math.ceil((retryAfterMs ?? RETRY_SECONDS * 1000) / 1000);
  return {
    status,
    body: errorBody(code, message),
    headers: {
      ...(status === 401 ? { "www-authenticate": "Bearer" } : {}),
      ...(status === 429 || status === 503 ? { "retry-after": String(seconds) } : {}),
    },
  };
}

/** Anything thrown while a request was answered. */
export function toAnswer(thrown: unknown): Answer {
  const error = toMusterError(thrown);
  const { code, message } = toldOf(error);
  const { retryAfterMs } = error.details;
  return errorAnswer(code, message, typeof retryAfterMs === "number" ? retryAfterMs : undefined);
}

/** What the world is told of it: nothing of what nobody has foreseen. */
export function toldOf(thrown: unknown): { code: ErrorCode; message: string } {
  const { code, message } = toMusterError(thrown);
  return {
    code,
    message: code === "INTERNAL" ? "Something went wrong here; the log of the coordinator tells more." : message,
  };
}

/** The error of a job that has not ended well. */
export function jobErrorOf({ id, outcome }: JobRecord): { code: ErrorCode; message: string } {
  const { code = "INTERNAL", message = "" } = outcome?.error ?? {};
  return { code: outcome?.status === "cancelled" ? "CANCELLED" : code, message: message || `The job ${id} failed.` };
}
