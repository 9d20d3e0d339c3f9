import { type ErrorCode, MusterError } from "../../errors.ts";

/** Thrown to end a request; the code says how, `hint` what to do. */
export function refusal(
  code: ErrorCode,
  message: string,
  hint: string,
  details?: Record<string, unknown>,
): MusterError {
  return new MusterError(code, message, { hint, details });
}
