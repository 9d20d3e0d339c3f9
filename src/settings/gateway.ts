import * as z from "zod";
import { secret, secretFile } from "./files.ts";
import { setting } from "./setting.ts";
import { duration, path, text, token } from "./values.ts";

/** Settings of `muster coordinator` alone. */

const count = z
  .stringFormat("count", /^\d{1,9}$/)
  .transform(Number)
  .refine((value) => value >= 1);

export const gatewaySettings = {
  ADMIN_TOKEN: setting("Gateway", token, {
    description: "Token of administrators, who see and steer all. With it COORDINATOR_TOKEN is the workers' alone.",
    allowed: "printable characters without spaces",
    otherwise: "COORDINATOR_TOKEN, while there is no CLIENT_KEYS_FILE",
    secret: true,
  }),
  ADMIN_TOKEN_FILE: setting("Gateway", path, {
    description: "File that holds that token; read again when it changes.",
    allowed: "a readable file",
    otherwise: "none",
  }),
  CLIENT_KEYS_FILE: setting("Gateway", path, {
    description: "Keys of clients and their limits; read again when it changes. docs/coordinator.md tells its form.",
    allowed: "a readable file",
    otherwise: "none; clients show COORDINATOR_TOKEN or ADMIN_TOKEN",
  }),
  CORS_ORIGINS: setting("Gateway", text, {
    description: "Origins whose pages may use the API from a browser.",
    allowed: "origins such as https://app.example, with commas between them; * for all",
    otherwise: "none but the coordinator's own",
  }),
  MAX_QUEUE: setting("Gateway", count, {
    description: "Jobs that may wait; more get 429 with Retry-After.",
    allowed: "a whole number above 0",
    otherwise: "`10000`",
  }),
  MAX_QUEUE_PER_KEY: setting("Gateway", count, {
    description: "Jobs that may wait of each client key that has no `queued` of its own.",
    allowed: "a whole number above 0",
    otherwise: "MAX_QUEUE",
  }),
  JOB_RETENTION: setting("Gateway", duration, {
    description: "How long jobs that have ended can be asked for.",
    allowed: "a duration such as 30m or 72h, at most 596h",
    otherwise: "`24h`",
  }),
  TLS_CERT_FILE: setting("Gateway", path, {
    description:
      "PEM file of the coordinator's certificate, with its chain; serves https and wss. Read again when it changes.",
    allowed: "a readable file",
    otherwise: "http and ws",
  }),
  TLS_KEY_FILE: setting("Gateway", path, {
    description: "PEM file of the key of that certificate.",
    allowed: "a readable file",
    otherwise: "none",
  }),
  TLS_CLIENT_CA_FILE: setting("Gateway", path, {
    description: "PEM file of the authority whose certificates workers have to show (mTLS).",
    allowed: "a readable file",
    otherwise: "workers show no certificate",
  }),
};

type Given = { [Name in keyof typeof gatewaySettings]?: z.output<(typeof gatewaySettings)[Name]> };

export interface GatewayConfig {
  adminToken: string | null;
  adminTokenFile: string | null;
  clientKeysFile: string | null;
  corsOrigins: string[];
  maxQueue: number | null;
  maxQueuePerKey: number | null;
  jobRetentionMs: number | null;
  tlsCertFile: string | null;
  tlsKeyFile: string | null;
  tlsClientCaFile: string | null;
}

export function gatewayConfig(given: Given, problems: string[]): GatewayConfig {
  return {
    adminToken: secret(given.ADMIN_TOKEN) ?? secretFile("ADMIN_TOKEN_FILE", given.ADMIN_TOKEN_FILE, problems),
    // A token given by value wins over the file, then and later.
    adminTokenFile: given.ADMIN_TOKEN ? null : (given.ADMIN_TOKEN_FILE ?? null),
    clientKeysFile: given.CLIENT_KEYS_FILE ?? null,
    corsOrigins: (given.CORS_ORIGINS ?? "").split(",").flatMap((origin) => originOf(origin.trim(), problems)),
    maxQueue: given.MAX_QUEUE ?? null,
    maxQueuePerKey: given.MAX_QUEUE_PER_KEY ?? null,
    jobRetentionMs: given.JOB_RETENTION ?? null,
    tlsCertFile: given.TLS_CERT_FILE ?? null,
    tlsKeyFile: given.TLS_KEY_FILE ?? null,
    tlsClientCaFile: given.TLS_CLIENT_CA_FILE ?? null,
  };
}

function originOf(given: string, problems: string[]): string[] {
  if (given === "" || given === "*") return given ? [given] : [];
  const origin = URL.parse(given)?.origin;
  if (origin && origin !== "null") return [origin];
  problems.push(`CORS_ORIGINS has ${JSON.stringify(given)}; allowed: origins such as https://app.example, or *.`);
  return [];
}
