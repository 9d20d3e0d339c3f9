import type * as z from "zod";
import { registerSecret } from "../redact.ts";
import { setting } from "./setting.ts";
import { flag, httpUrl, text } from "./values.ts";

/** How `s3://` is reached. Credentials are the SDK's business: it looks for them where AWS tools do. */

export interface ObjectStore {
  /** null: Amazon's. */
  endpoint: string | null;
  forcePathStyle: boolean;
  /** null: that of the AWS profile. */
  region: string | null;
}

export const objectStoreSettings = {
  S3_ENDPOINT: setting("Object store", httpUrl, {
    description: "The S3-compatible server that `s3://` names.",
    allowed: "an http(s) URL",
    otherwise: "AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, else Amazon's",
  }),
  S3_FORCE_PATH_STYLE: setting("Object store", flag, {
    description: "Put the bucket's name into the path of URLs (`host/bucket`) and not into the host (`bucket.host`).",
    allowed: "true or false",
    otherwise: "`true` where an endpoint is set",
  }),
  AWS_ENDPOINT_URL_S3: setting("Object store", httpUrl, {
    description: "S3_ENDPOINT as AWS tools call it.",
    allowed: "an http(s) URL",
    otherwise: "none",
  }),
  AWS_ENDPOINT_URL: setting("Object store", httpUrl, {
    description: "The same for all services.",
    allowed: "an http(s) URL",
    otherwise: "none",
  }),
  AWS_REGION: setting("Object store", text, {
    description: "Region of the buckets.",
    allowed: "a region such as eu-central-1",
    otherwise: "AWS_DEFAULT_REGION, that of the AWS profile, `us-east-1` where an endpoint is set",
  }),
  AWS_DEFAULT_REGION: setting("Object store", text, {
    description: "The same, as other AWS tools call it.",
    allowed: "a region",
    otherwise: "none",
  }),
  AWS_ACCESS_KEY_ID: setting("Object store", text, {
    description:
      "Credentials for the buckets. Found as AWS tools find them: these variables, AWS_PROFILE with AWS_SHARED_CREDENTIALS_FILE, a web identity (AWS_WEB_IDENTITY_TOKEN_FILE), the container or the instance.",
    allowed: "a key id",
    otherwise: "none",
  }),
  AWS_SECRET_ACCESS_KEY: setting("Object store", text, {
    description: "The secret that belongs to it.",
    allowed: "a secret key",
    otherwise: "none",
    secret: true,
  }),
  AWS_SESSION_TOKEN: setting("Object store", text, {
    description: "The token of credentials that hold for a time.",
    allowed: "a token",
    otherwise: "none",
    secret: true,
  }),
};

type Given = { [Name in keyof typeof objectStoreSettings]?: z.output<(typeof objectStoreSettings)[Name]> };

/** AWS's own names are read as its tools read them; what is not set here the SDK looks for in its files. */
export function objectStore(given: Given): ObjectStore {
  registerSecret(given.AWS_SECRET_ACCESS_KEY ?? "");
  registerSecret(given.AWS_SESSION_TOKEN ?? "");
  const endpoint = given.S3_ENDPOINT ?? given.AWS_ENDPOINT_URL_S3 ?? given.AWS_ENDPOINT_URL ?? null;
  return {
    endpoint,
    // Servers other than Amazon's seldom have a host name for each bucket.
    forcePathStyle: given.S3_FORCE_PATH_STYLE ?? endpoint !== null,
    // Those that have no regions still want one in the signature.
    region: given.AWS_REGION ?? given.AWS_DEFAULT_REGION ?? (endpoint ? "us-east-1" : null),
  };
}
