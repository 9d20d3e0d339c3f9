import { type ErrorCode, MusterError } from "../../errors.ts";
import { networkError } from "../http-errors.ts";

/** What was asked for, for the words of the error. */
export interface S3Subject {
  /** s3://bucket/key */
  name: string;
  /** The server's URL. */
  endpoint: string;
}

/** As the SDK throws them. */
interface SdkError extends Error {
  Code?: string;
  $metadata?: { httpStatusCode?: number };
  $response?: { headers?: Record<string, string> };
}

const CREDENTIALS =
  "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE with AWS_SHARED_CREDENTIALS_FILE, or a web identity), and check that they may read the bucket (to push: also write).";

/** By the server's own words. */
const NAMED: Record<string, [ErrorCode, (name: string) => string, string]> = {
  NoSuchBucket: [
    "REPO_NOT_FOUND",
    (name) => `There is no bucket for ${name}`,
    "Correct the bucket's name, or make it.",
  ],
  ExpiredToken: ["ACCESS_REFUSED", (name) => `The credentials for ${name} have expired`, `Renew them. ${CREDENTIALS}`],
  RequestTimeTooSkewed: [
    "ACCESS_REFUSED",
    (name) => `The server refuses ${name}, because the clocks differ`,
    "Set the host's clock with NTP; `date -u` shows it.",
  ],
  CredentialsProviderError: ["ACCESS_REFUSED", (name) => `There are no credentials for ${name}`, CREDENTIALS],
  SlowDown: [
    "RATE_LIMITED",
    (name) => `The object store limits the rate of requests for ${name}`,
    "Wait; it is tried again.",
  ],
};

/** Any failure of a request to an object store in the operator's words. */
export function s3Error(error: unknown, { name, endpoint }: S3Subject): MusterError {
  if (error instanceof MusterError) return error;
  const { name: kind = "", message, Code, $metadata, $response } = error as SdkError;
  const status = $metadata?.httpStatusCode ?? 0;
  // To a HEAD request servers say nothing but the status, and what is in front of them may say anything.
  const isSilent = /^Unknown(Error)?$|^NotFound$/.test(kind) || /deserialization/i.test(message);
  const said = isSilent ? `status ${status}` : `${Code ?? kind}: ${message}`;
  const build = (code: ErrorCode, text: string, hint: string) =>
    new MusterError(code, `${text} (${said}).`, {
      hint,
      cause: error,
      details: { status, retryAfterMs: wait($response) },
    });
  const named = NAMED[kind] ?? NAMED[Code ?? ""];
  if (named) return build(named[0], named[1](name), named[2]);
  if (isAboutRegion(error as SdkError)) {
    return build(
      "CONFIG_INVALID",
      `The region for ${name} is missing or wrong`,
      "Set AWS_REGION to the bucket's region.",
    );
  }
  if (status === 401 || status === 403) return build("ACCESS_REFUSED", `Access to ${name} is refused`, CREDENTIALS);
  if (status === 404) {
    return build("FILE_NOT_FOUND", `${name} is not there`, "Check bucket and prefix, and S3_ENDPOINT.");
  }
  if (status === 429) return build("RATE_LIMITED", `The object store limits the rate of requests for ${name}`, "Wait.");
  if (status >= 500 || status === 408) {
    return build(
      "SERVER_ERROR",
      `The object store failed for ${name}`,
      "It is tried again; if it stays so, look at the store.",
    );
  }
  if (status > 0) {
    return build(
      "RESPONSE_INVALID",
      `Unexpected status ${status} for ${name}`,
      `Check that ${endpoint} (S3_ENDPOINT) is an S3 server.`,
    );
  }
  const failure = networkError(error, endpoint);
  if (failure.code === "CANCELLED") return failure;
  return new MusterError(failure.code, failure.message, {
    hint: `Check S3_ENDPOINT and AWS_REGION. ${failure.hint}`,
    cause: error,
  });
}

function isAboutRegion({ name, message, Code, $metadata }: SdkError): boolean {
  const code = Code ?? name;
  if (/PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraint/.test(code)) return true;
  return $metadata?.httpStatusCode === 301 || /region is missing/i.test(message);
}

function wait(response: SdkError["$response"]): number {
  const seconds = Number(response?.headers?.["retry-after"]);
  return Number.isFinite(seconds) ? seconds * 1000 : 0;
}
