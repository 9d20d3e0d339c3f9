import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { checkServerIdentity, type ConnectionOptions as PeerOptions } from "node:tls";
import { type JetStreamClient, type JetStreamManager, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import {
  type ConnectionOptions,
  connect,
  credsAuthenticator,
  type NatsConnection,
  type TlsOptions,
  tokenAuthenticator,
  usernamePasswordAuthenticator,
} from "@nats-io/transport-node";
import { hasSystemCode, MusterError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import { registerSecret } from "../../redact.ts";
import { unavailable } from "../stores/unavailable.ts";
import { Names } from "./names.ts";

export interface NatsOptions {
  /** nats:// or tls://, without credentials. */
  servers: string[];
  /** Read again at each connection. */
  credentials: { credsFile?: string; tokenFile?: string; user?: string; passwordFile?: string };
  /** PEM of the authority; without it the system's. */
  ca: string | null;
  /** How many servers of a cluster keep each job: 1, 3 or 5. */
  replicas: number;
  prefix: string;
}

/** A connection that comes back by itself, and what is done over it. */
export interface NatsLink {
  connection: NatsConnection;
  js: JetStreamClient;
  jsm: JetStreamManager;
  kvm: Kvm;
  names: Names;
  replicas: number;
  isUp(): boolean;
  /** Calls each time the connection is there again. */
  onUp(listener: () => void): void;
  /** Runs it, with STORE_UNAVAILABLE for whatever the server or the way to it is to blame for. */
  ask<T>(work: () => Promise<T>): Promise<T>;
  /** Without effect while the connection is away: nothing old goes out when it is back. */
  tell(subject: string, data: unknown): void;
  close(): Promise<void>;
}

const TIMEOUT_MS = 5_000;
const RECONNECT_MS = 500;

export async function openLink(options: NatsOptions, log: Logger): Promise<NatsLink> {
  const connection = await connect(connectionOptions(options)).catch((error: unknown) => {
    throw unreachable(options, error);
  });
  const kvm = new Kvm(jetstream(connection, { timeout: TIMEOUT_MS }));
  const listeners = new Set<() => void>();
  let up = true;
  const watchStatus = async () => {
    for await (const { type } of connection.status()) {
      if (type === "disconnect" && up) log.warn("NATS is away: no new jobs are taken until it is back");
      if (type === "disconnect") up = false;
      if (type !== "reconnect") continue;
      up = true;
      log.info("NATS is back");
      for (const listener of listeners) listener();
    }
  };
  void watchStatus();
  // The lost connection may still be asked with what it has in hand; only JetStream's answers count.
  const js = jetstream(connection, { timeout: TIMEOUT_MS });
  const jsm = await jetstreamManager(connection, { timeout: TIMEOUT_MS }).catch(async (error: unknown) => {
    await connection.close();
    throw unreachable(options, error);
  });
  return {
    ...{ connection, js, jsm, kvm },
    names: new Names(options.prefix),
    replicas: options.replicas,
    isUp: () => up,
    onUp: (listener) => void listeners.add(listener),
    async ask(work) {
      if (!up) throw unavailable("NATS is away");
      try {
        return await work();
      } catch (error) {
        throw isOfTheStore(error) ? unavailable("NATS did not answer", error) : error;
      }
    },
    tell(subject, data) {
      if (up && !connection.isClosed()) connection.publish(subject, JSON.stringify(data));
    },
    close: () => connection.close(),
  };
}

function connectionOptions({ servers, credentials, ca }: NatsOptions): ConnectionOptions {
  const { credsFile, tokenFile, user, passwordFile } = credentials;
  const text = (file: string) => {
    const secret = readFileSync(file, "utf8").trim();
    registerSecret(secret);
    return secret;
  };
  const authenticator = [
    ...(credsFile ? [credsAuthenticator(() => readFileSync(credsFile))] : []),
    ...(tokenFile ? [tokenAuthenticator(() => text(tokenFile))] : []),
    ...(user ? [usernamePasswordAuthenticator(user, passwordFile ? () => text(passwordFile) : undefined)] : []),
  ];
  const isTls = ca !== null || servers.some((server) => server.startsWith("tls:"));
  const tls: TlsOptions & Pick<PeerOptions, "checkServerIdentity"> = {
    ...(ca === null ? {} : { ca }),
    checkServerIdentity: identityOf(servers),
  };
  return {
    servers: servers.map((server) => server.replace(/^tls:/, "nats:")),
    name: "muster coordinator",
    authenticator,
    tls: isTls ? tls : null,
    timeout: TIMEOUT_MS,
    maxReconnectAttempts: -1,
    // A secret that is renewed while the server is away would otherwise end the connection for ever.
    ignoreAuthErrorAbort: true,
    reconnectTimeWait: RECONNECT_MS,
    reconnectJitter: RECONNECT_MS,
    pingInterval: TIMEOUT_MS,
    maxPingOut: 2,
    // What a gateway says is for the others.
    noEcho: true,
  };
}

/** The client does not tell which address it has connected to, and Node takes "localhost" then: any of our addresses will do. */
function identityOf(servers: readonly string[]): NonNullable<PeerOptions["checkServerIdentity"]> {
  const addresses = servers.map((server) => new URL(server).hostname.replace(/^\[|\]$/g, "")).filter(isIP);
  return (host, certificate) => {
    const problem = checkServerIdentity(host, certificate);
    const isOurs = host === "localhost" && addresses.some((each) => !checkServerIdentity(each, certificate));
    return isOurs ? undefined : problem;
  };
}

function unreachable({ servers }: NatsOptions, error: unknown): MusterError {
  const { name = "", message = "" } = error instanceof Error ? error : {};
  const refused = /authori[sz]ation|authentication|credentials/i.test(`${name} ${message}`);
  const hint = refused
    ? "Set NATS_CREDS_FILE, NATS_TOKEN_FILE, or NATS_USER and NATS_PASSWORD_FILE to what nats-server's configuration says."
    : /certificate|tls/i.test(message)
      ? "Set NATS_CA_FILE to the authority that signed its certificate, and name the server as the certificate does: `openssl x509 -in CERT -noout -ext subjectAltName`."
      : `Start it with JetStream: \`nats-server --config docker/nats.conf\`, and look with \`nc -z HOST 4222\`.`;
  const what = refused ? "refuses this gateway" : "cannot be used";
  const shown = servers.join(", ");
  const code = refused ? "CONFIG_INVALID" : "STORE_UNAVAILABLE";
  return new MusterError(code, `NATS at ${shown} ${what}: ${message || name || String(error)}`, { hint, cause: error });
}

const OF_THE_STORE = [
  "TimeoutError",
  "RequestError",
  "NoRespondersError",
  "ClosedConnectionError",
  "ConnectionError",
  "DrainingConnectionError",
  "JetStreamNotEnabled",
  "JetStreamError",
  "JetStreamStatusError",
];

function isOfTheStore(error: unknown): boolean {
  if (!(error instanceof Error) || error instanceof MusterError) return false;
  // Of JetStream: out of room, no leader, still starting. 4xx are for whoever asked.
  const { status, code } = error as { status?: unknown; code?: unknown };
  if (error.name === "JetStreamApiError") return Number(status ?? 0) >= 500 || FULL.includes(Number(code));
  return OF_THE_STORE.includes(error.name) || hasSystemCode(error, "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT");
}

/** No leader, out of storage, maximum of bytes or messages. */
const FULL = [10008, 10023, 10047, 10077];

/** Of JetStream's answers: another change came first, or the key is there. */
export function isConflict(error: unknown): boolean {
  return error instanceof Error && (error as { code?: unknown }).code === 10071;
}

/** The subject has its message. */
export function isThere(error: unknown): boolean {
  return error instanceof Error && (error as { code?: unknown }).code === 10077 && /per subject/.test(error.message);
}
