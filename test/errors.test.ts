import { access } from "node:fs/promises";
import { expect, it } from "vitest";
import { type ErrorCode, EXIT, errorCodes, hasSystemCode, MusterError, toMusterError } from "../src/errors.ts";
import { registerSecret } from "../src/redact.ts";

it("carries code, message, hint, details and cause", () => {
  const cause = new Error("below");
  const error = new MusterError("DISK_FULL", "No space.", { hint: "Free some.", cause, details: { needBytes: 7 } });
  expect(error).toBeInstanceOf(Error);
  expect(error).toMatchObject({ name: "MusterError", code: "DISK_FULL", message: "No space.", hint: "Free some." });
  expect(error.cause).toBe(cause);
  expect(error.details).toEqual({ needBytes: 7 });
  expect("cause" in new MusterError("USAGE", "m", { hint: "h" })).toBe(false);
});

it("survives JSON, without its cause", () => {
  const error = new MusterError("RATE_LIMITED", "Wait.", { hint: "h", cause: 1, details: { retryAfterMs: 30 } });
  const copy = MusterError.fromJSON(JSON.parse(JSON.stringify(error)));
  expect(copy.toJSON()).toEqual(error.toJSON());
  expect(copy).toMatchObject({ retryable: true, exitCode: EXIT.tryAgain });
  expect(copy.cause).toBeUndefined();
});

it("every code has an exit code; what may be tried again never exits as configuration", () => {
  for (const [code, { exit, retryable }] of Object.entries(errorCodes)) {
    expect([EXIT.failed, EXIT.usage, EXIT.tryAgain, EXIT.config], code).toContain(exit);
    if (retryable) expect(exit, code).not.toBe(EXIT.config);
  }
});

it.each<[ErrorCode, number, boolean]>([
  ["USAGE", 64, false],
  ["CONFIG_INVALID", 78, false],
  ["TOKEN_INVALID", 78, false],
  ["HOST_UNREACHABLE", 75, true],
  ["DISK_FULL", 75, false],
  ["INTERNAL", 1, false],
])("%s exits %i", (code, exitCode, retryable) => {
  expect(new MusterError(code, "m", { hint: "h" })).toMatchObject({ exitCode, retryable });
});

it("shows secrets nowhere: message, hint, details at any depth", () => {
  registerSecret("s3cr3t-Zx9");
  const error = new MusterError("INTERNAL", "is s3cr3t-Zx9", {
    hint: "curl -H s3cr3t-Zx9",
    details: { url: "https://me:pass@host/", list: [{ "s3cr3t-Zx9": "s3cr3t-Zx9", status: 403, none: null }] },
  });
  expect(JSON.stringify(error)).not.toMatch(/s3cr3t|pass/);
  expect(error.stack).not.toMatch(/s3cr3t/);
  expect(error.details.list).toEqual([{ "[redacted]": "[redacted]", status: 403, none: null }]);
});

it("whatever was thrown becomes a MusterError that keeps its cause", () => {
  const own = new MusterError("USAGE", "m", { hint: "h" });
  expect(toMusterError(own)).toBe(own);
  const failure = new TypeError("x is not a function");
  expect(toMusterError(failure)).toMatchObject({
    code: "INTERNAL",
    cause: failure,
    message: "Unexpected: x is not a function",
  });
  expect(toMusterError("text")).toMatchObject({ code: "INTERNAL", cause: "text", message: "Unexpected: text" });
  expect(toMusterError(undefined)).toMatchObject({ code: "INTERNAL", message: "Unexpected: undefined" });
  const { reason } = AbortSignal.abort();
  expect(toMusterError(reason)).toMatchObject({ code: "CANCELLED", cause: reason });
});

it("tells errors of the platform by their code", async () => {
  const missing = await access("/nowhere/at/all").catch((error: unknown) => error);
  expect(hasSystemCode(missing, "EACCES", "ENOENT")).toBe(true);
  expect(hasSystemCode(missing, "EACCES")).toBe(false);
  expect(hasSystemCode(new Error("ENOENT"), "ENOENT")).toBe(false);
  expect(hasSystemCode({ code: "ENOENT" }, "ENOENT")).toBe(false);
});
