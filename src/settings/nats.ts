import * as z from "zod";
import { filePath, readable } from "./files.ts";
import { setting } from "./setting.ts";
import { isUrl, path, text } from "./values.ts";

/** Where `muster coordinator` keeps jobs that several gateways share. */
export const natsSettings = {
  NATS_URL: setting(
    "Coordinator",
    text.refine((value) => natsServers(value) !== null),
    {
      description: "For `muster coordinator`: NATS servers that keep the jobs, as `--store` names them too.",
      allowed: "nats:// or tls:// URLs without credentials, with commas between them",
      otherwise: "none; jobs are kept as `--store` says",
    },
  ),
  NATS_CREDS_FILE: setting("Coordinator", path, {
    description: "Credentials file (JWT and key) for NATS; read again at every connection.",
    allowed: "a readable file",
    otherwise: "none",
  }),
  NATS_TOKEN_FILE: setting("Coordinator", path, {
    description: "File that holds the token for NATS; read again at every connection.",
    allowed: "a readable file",
    otherwise: "none",
  }),
  NATS_USER: setting("Coordinator", text, {
    description: "User at NATS.",
    allowed: "a name",
    otherwise: "none",
  }),
  NATS_PASSWORD_FILE: setting("Coordinator", path, {
    description: "File that holds the user's password; read again at every connection.",
    allowed: "a readable file",
    otherwise: "none",
  }),
  NATS_CA_FILE: setting("Coordinator", path, {
    description: "PEM file of the authority that signed NATS's certificate; with it connections are encrypted.",
    allowed: "a readable file",
    otherwise: "the system's authorities",
  }),
  NATS_REPLICAS: setting("Coordinator", z.enum(["1", "3", "5"]).transform(Number), {
    description: "How many servers of a NATS cluster keep each job.",
    allowed: "1, 3 or 5",
    otherwise: "`1`",
  }),
  NATS_PREFIX: setting("Coordinator", z.stringFormat("prefix", /^[A-Za-z0-9_-]{1,32}$/), {
    description: "What names of streams and subjects begin with: fleets that share a NATS server take different ones.",
    allowed: "1 to 32 letters, digits, dashes, underscores",
    otherwise: "`muster`",
  }),
};

export interface NatsSettings {
  /** Null where NATS_URL is not set. */
  servers: string[] | null;
  credentials: { credsFile?: string; tokenFile?: string; user?: string; passwordFile?: string };
  ca: string | null;
  replicas: number;
  prefix: string;
}

type Given = { [name in keyof typeof natsSettings]?: z.infer<(typeof natsSettings)[name]> };

export function readNatsSettings(given: Given, problems: string[]): NatsSettings {
  const file = (name: "NATS_CREDS_FILE" | "NATS_TOKEN_FILE" | "NATS_PASSWORD_FILE") => {
    const found = filePath(name, given[name], problems);
    // It is read when it is needed; that it is there can be said now. What it holds is kept out of logs.
    return found !== null && readable(name, found, problems) !== null ? found : undefined;
  };
  const credsFile = file("NATS_CREDS_FILE");
  const tokenFile = file("NATS_TOKEN_FILE");
  const passwordFile = file("NATS_PASSWORD_FILE");
  return {
    servers: given.NATS_URL === undefined ? null : natsServers(given.NATS_URL),
    credentials: { credsFile, tokenFile, user: given.NATS_USER, passwordFile },
    ca: given.NATS_CA_FILE === undefined ? null : readable("NATS_CA_FILE", given.NATS_CA_FILE, problems),
    replicas: given.NATS_REPLICAS ?? 1,
    prefix: given.NATS_PREFIX ?? "muster",
  };
}

/** The servers of a list of URLs; null where one is none, or has credentials in it. */
export function natsServers(value: string): string[] | null {
  const servers = value.split(",").map((server) => server.trim());
  const isServer = (server: string) => {
    if (!isUrl(server, ["nats:", "tls:"])) return false;
    const { username, password, hostname } = new URL(server);
    return hostname !== "" && username === "" && password === "";
  };
  return servers.every(isServer) ? servers : null;
}
