import { MusterError, toMusterError } from "../errors.ts";

/** An answer that is not the one asked for. */
export interface HttpAnswer {
  status: number;
  url: string;
  header(name: string): string | null;
  /** First bytes of the body, where it was read. */
  text?: string;
}

/** What was asked for, for the words of the error. */
export interface HttpSubject {
  /** `acme/tiny`, or `acme/tiny: model.safetensors`. */
  name: string;
  /** Page where access is asked for. */
  page: string;
  tokenSent: boolean;
  /** The settings that say where it is asked for and with which token; the hub's where they are left out. */
  settings?: { endpoint: string; token: string | null };
}

const HUB_SETTINGS = { endpoint: "HF_ENDPOINT", token: "HF_TOKEN" };

/** The hub's (and any HTTP server's) refusal as a MusterError. Codes and texts: the hub's X-Error-Code contract. */
export function httpError(answer: HttpAnswer, subject: HttpSubject): MusterError {
  const { status, url } = answer;
  const code = answer.header("x-error-code");
  const said = answer.header("x-error-message") ?? answer.text?.slice(0, 200) ?? "";
  const { endpoint, token: setting } = subject.settings ?? HUB_SETTINGS;
  const details = { status, url };
  const unset = setting ? ` (${setting} is not set)` : "";
  const token = subject.tokenSent
    ? `the token${setting ? ` of ${setting}` : ""} was sent`
    : `no token was sent${unset}`;
  if (code === "GatedRepo") {
    return new MusterError("MODEL_GATED", `${subject.name} is gated and refused (${token}).`, {
      hint: `Ask for access at ${subject.page}, then set HF_TOKEN or HF_TOKEN_FILE to a token of that account and run \`muster sync\` again.`,
      details,
    });
  }
  if (status === 401 && /invalid credentials/i.test(said)) {
    return new MusterError("TOKEN_INVALID", `The hub does not accept the token (asked for ${subject.name}).`, {
      hint: "Set HF_TOKEN or HF_TOKEN_FILE to a valid token, or unset it for public models.",
      details,
    });
  }
  if (code === "RepoNotFound") {
    return new MusterError(
      "REPO_NOT_FOUND",
      `${subject.name} does not exist at ${new URL(url).origin}, or is private (${token}).`,
      {
        hint: `Check the name at ${subject.page}; for a private model set HF_TOKEN.`,
        details,
      },
    );
  }
  if (code === "RevisionNotFound") {
    return new MusterError("REVISION_NOT_FOUND", `${subject.name} has no such revision (${said || url}).`, {
      hint: `Choose a branch, tag or commit listed at ${subject.page}.`,
      details,
    });
  }
  if (status === 404) {
    return new MusterError(
      code === "EntryNotFound" ? "FILE_NOT_FOUND" : "REPO_NOT_FOUND",
      `${subject.name} was not found (404 from ${url}).`,
      {
        hint: `Check the name at ${subject.page}, and that ${endpoint} is the right ${setting ? "hub" : "registry"}.`,
        details,
      },
    );
  }
  if (status === 401 || status === 403) {
    return new MusterError(
      "ACCESS_REFUSED",
      `Access to ${subject.name} is refused: ${said || `status ${status}`} (${token}).`,
      {
        hint: `See ${subject.page} for who may have it.`,
        details,
      },
    );
  }
  if (status === 429) {
    const retryAfterMs = retryAfter(answer);
    return new MusterError("RATE_LIMITED", `${new URL(url).host} limits the rate of requests (429).`, {
      hint: `Wait; it is tried again.${setting && !subject.tokenSent ? ` With ${setting} set the limits are higher.` : ""}`,
      details: { ...details, retryAfterMs },
    });
  }
  if (status >= 500 || status === 408) {
    return new MusterError("SERVER_ERROR", `${new URL(url).host} failed with status ${status} for ${subject.name}.`, {
      hint: `It is tried again; if it stays so, see the server's status page or set ${endpoint} to a mirror.`,
      details: { ...details, retryAfterMs: retryAfter(answer) },
    });
  }
  return new MusterError("RESPONSE_INVALID", `Unexpected status ${status} for ${subject.name} from ${url}.`, {
    hint: `Check that ${endpoint} is a ${setting ? "hub" : "registry"} and that no proxy answers in its place.`,
    details,
  });
}

/** Milliseconds from Retry-After (seconds or a date) or RateLimit (`"api";r=0;t=30`). */
function retryAfter(answer: HttpAnswer): number {
  const after = answer.header("retry-after");
  if (after && /^\d+$/.test(after)) return Number(after) * 1000;
  if (after && !Number.isNaN(Date.parse(after))) return Math.max(0, Date.parse(after) - Date.now());
  const reset = /;\s*t=(\d+)/.exec(answer.header("ratelimit") ?? "");
  return Number(reset?.[1] ?? 0) * 1000;
}

/** What went wrong below HTTP: names, connections, certificates, time. */
export function networkError(error: unknown, url: string): MusterError {
  if (error instanceof MusterError) return error;
  if (error instanceof Error && error.name === "AbortError") return toMusterError(error);
  const { code, message } = rootCause(error);
  const host = URL.canParse(url) ? new URL(url).host : url;
  if (code === "UND_ERR_HEADERS_TIMEOUT" || code === "UND_ERR_BODY_TIMEOUT")
    return stalled(host, "nothing for the whole of STALL_TIMEOUT");
  if (/CERT|SELF_SIGNED|UNABLE_TO_(GET|VERIFY)|ERR_TLS|ERR_SSL|EPROTO/.test(code)) {
    return new MusterError("TLS_FAILED", `The secure connection to ${host} failed: ${message}.`, {
      hint: "Behind an inspecting proxy set NODE_EXTRA_CA_CERTS to its certificate; check HF_ENDPOINT, OLLAMA_REGISTRY and HTTPS_PROXY.",
      cause: error,
    });
  }
  return new MusterError("HOST_UNREACHABLE", `${host} cannot be reached: ${message || code}.`, {
    hint: "Check the network, DNS, HTTPS_PROXY and NO_PROXY; `muster doctor` tries each host.",
    cause: error,
  });
}

/** `sent`: what came instead of bytes, after the host's name. */
export function stalled(host: string, sent: string): MusterError {
  return new MusterError("STALLED", `${host} sent ${sent}.`, {
    hint: "It is tried again; on a very slow link raise STALL_TIMEOUT.",
  });
}

export function notHttp(host: string, cause: Error): MusterError {
  return new MusterError("RESPONSE_INVALID", `${host} answered with something that is not HTTP (${cause.message}).`, {
    hint: "Check that the address is a web server's, and that no proxy answers in its place.",
    cause,
  });
}

export function proxyRefused(proxy: string, target: string, status: number): MusterError {
  return new MusterError("HOST_UNREACHABLE", `The proxy ${proxy} refuses to connect to ${target} (${status}).`, {
    hint: "Check HTTPS_PROXY and its credentials, or name the host in NO_PROXY.",
  });
}

function rootCause(error: unknown): { code: string; message: string } {
  let current = error;
  while (current instanceof Error && current.cause instanceof Error) current = current.cause;
  if (current instanceof AggregateError && current.errors[0] instanceof Error) current = current.errors[0];
  if (!(current instanceof Error)) return { code: "", message: String(current) };
  return { code: String((current as NodeJS.ErrnoException).code ?? ""), message: current.message };
}
