import { MusterError, toMusterError } from "../../errors.ts";

/** What keeps the jobs cannot, for now. */
export function unavailable(what: string, cause?: unknown): MusterError {
  return new MusterError("STORE_UNAVAILABLE", `${what}; jobs cannot be kept just now.`, {
    hint: "Send it again in a moment; `curl …/readyz` says when it is back.",
    details: { retryAfterMs: 2_000 },
    cause,
  });
}

export function isUnavailable(error: unknown): boolean {
  return toMusterError(error).code === "STORE_UNAVAILABLE";
}
