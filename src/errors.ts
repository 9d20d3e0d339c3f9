import { redact, redactData } from "./redact.ts";

/** Exit codes (sysexits): 64 wrong usage, 75 try again, 78 configuration or authorization, restarting will not help. */
export const EXIT = { ok: 0, failed: 1, usage: 64, tryAgain: 75, config: 78 } as const;

interface CodeFacts {
  exit: number;
  /** Whether the same attempt may succeed later without anybody changing anything. */
  retryable: boolean;
}

const again: CodeFacts = { exit: EXIT.tryAgain, retryable: true };
const fix: CodeFacts = { exit: EXIT.config, retryable: false };

/** Every error an operator can meet. Each has a section in docs/errors.md; a test holds the two together. */
export const errorCodes = {
  USAGE: { exit: EXIT.usage, retryable: false },
  CONFIG_INVALID: fix,
  CATALOG_INVALID: fix,
  CATALOG_READ_ONLY: fix,
  WORKER_TYPE_MISSING: fix,
  WORKER_TYPE_UNKNOWN: fix,
  MODEL_UNKNOWN: { exit: EXIT.usage, retryable: false },
  MODEL_NOT_ALLOWED: fix,
  LICENSE_REFUSED: fix,
  MODEL_REQUIRED: fix,
  GPU_REQUIRED: fix,
  NOTHING_FITS: fix,
  VOLUME_NOT_WRITABLE: fix,
  VOLUME_READ_ONLY: fix,
  LOCAL_DIR_REFUSED: fix,
  DISK_FULL: { exit: EXIT.tryAgain, retryable: false },
  QUOTA_EXCEEDED: { exit: EXIT.tryAgain, retryable: false },
  MODEL_GATED: fix,
  TOKEN_INVALID: fix,
  ACCESS_REFUSED: fix,
  REPO_NOT_FOUND: fix,
  REVISION_NOT_FOUND: fix,
  FILE_NOT_FOUND: fix,
  PICKLE_REFUSED: fix,
  SOURCE_UNSUPPORTED: fix,
  OFFLINE_MISSING: fix,
  LOCK_INVALID: fix,
  NOT_LOCKED: fix,
  LOCKED_GONE: fix,
  MODEL_INCOMPLETE: { exit: EXIT.failed, retryable: false },
  MODEL_IN_USE: again,
  MODEL_PINNED: { exit: EXIT.failed, retryable: false },
  MODEL_DAMAGED: { exit: EXIT.failed, retryable: false },
  BUNDLE_INVALID: { exit: EXIT.failed, retryable: false },
  RATE_LIMITED: again,
  SERVER_ERROR: again,
  RESPONSE_INVALID: again,
  REDIRECT_EXPIRED: again,
  HOST_UNREACHABLE: again,
  TLS_FAILED: fix,
  STALLED: again,
  DIGEST_MISMATCH: again,
  DIGEST_MISSING: fix,
  LEASE_LOST: again,
  STORE_CHANGED: again,
  ENGINE_DOWN: again,
  ENGINE_FAILED: again,
  BUSY: again,
  MODEL_NOT_READY: again,
  UNSUPPORTED: fix,
  INVALID_INPUT: { exit: EXIT.usage, retryable: false },
  PAYLOAD_TOO_LARGE: { exit: EXIT.usage, retryable: false },
  OUT_OF_MEMORY: again,
  GPU_LOST: again,
  TIMEOUT: { exit: EXIT.tryAgain, retryable: false },
  QUEUE_FULL: again,
  STORE_UNAVAILABLE: again,
  JOB_EXISTS: { exit: EXIT.usage, retryable: false },
  DRAINING: again,
  STALE_ATTEMPT: { exit: EXIT.failed, retryable: false },
  COORDINATOR_UNREACHABLE: again,
  COORDINATOR_REFUSED: fix,
  SUPERSEDED: fix,
  PORT_IN_USE: fix,
  AGENT_NOT_RUNNING: { exit: EXIT.failed, retryable: true },
  CANCELLED: again,
  INTERNAL: { exit: EXIT.failed, retryable: false },
} as const satisfies Record<string, CodeFacts>;

export type ErrorCode = keyof typeof errorCodes;

/** An error as plain data, for frames, records, and messages between threads. */
export interface ErrorData {
  code: ErrorCode;
  message: string;
  hint: string;
  details?: Record<string, unknown>;
}

export interface ErrorOptions {
  /** The exact next thing to do, a command where there is one. */
  hint: string;
  cause?: unknown;
  /** Machine-readable particulars: HTTP status, bytes needed, seconds to wait. */
  details?: Record<string, unknown>;
}

/** The one error class. Code for programs, message and hint for people, cause for the curious; secrets removed. */
export class MusterError extends Error {
  readonly code: ErrorCode;
  readonly hint: string;
  readonly details: Record<string, unknown>;

  constructor(code: ErrorCode, message: string, options: ErrorOptions) {
    super(redact(message), options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "MusterError";
    this.code = code;
    this.hint = redact(options.hint);
    this.details = redactData(options.details ?? {});
  }

  get exitCode(): number {
    return errorCodes[this.code].exit;
  }

  get retryable(): boolean {
    return errorCodes[this.code].retryable;
  }

  toJSON(): ErrorData {
    return { code: this.code, message: this.message, hint: this.hint, details: this.details };
  }

  static fromJSON(data: ErrorData): MusterError {
    return new MusterError(data.code, data.message, data);
  }
}

/** Anything thrown, as a MusterError; what is not one already is INTERNAL and keeps its cause. */
export function toMusterError(error: unknown): MusterError {
  if (error instanceof MusterError) return error;
  if (error instanceof Error && error.name === "AbortError") {
    return new MusterError("CANCELLED", "The work was cancelled.", { hint: "Run it again when wanted.", cause: error });
  }
  const text = error instanceof Error ? error.message : String(error);
  return new MusterError("INTERNAL", `Unexpected: ${text}`, {
    hint: "Run again with LOG_LEVEL=debug and report it with the output.",
    cause: error,
  });
}

/** True for an error of the platform (fs, net) with one of these codes. */
export function hasSystemCode(error: unknown, ...codes: string[]): error is NodeJS.ErrnoException {
  return error instanceof Error && "code" in error && codes.includes(String(error.code));
}
