import { once } from "node:events";
import { hostname } from "node:os";
import type { Config } from "../config.ts";
import { type CoordinatorOptions, startCoordinator } from "../coordinator/coordinator.ts";
import { openClientKeys, openTls, tokenSource } from "../coordinator/files.ts";
import { openMemoryStore } from "../coordinator/stores/memory.ts";
import { openSqliteStore } from "../coordinator/stores/sqlite.ts";
import { EXIT, MusterError } from "../errors.ts";
import { BEAT_MS, SILENT_BEATS } from "../protocol.ts";
import { natsServers } from "../settings/nats.ts";
import { type GlobalOptions, setup } from "./setup.ts";

interface CoordinatorFlags extends GlobalOptions {
  listen: string;
  /** Path of an SQLite database, or URLs of NATS servers. */
  store?: string;
  beatMs: string;
  leaseMs: string;
  graceMs: string;
  tlsCert?: string;
  tlsKey?: string;
}

/** `muster coordinator`: the reference coordinator, until SIGTERM. */
export async function coordinator(options: CoordinatorFlags): Promise<number> {
  const { config, log } = setup({ logTo: "stdout", logFile: false, jsonLog: options.json });
  const { host, port } = parseListen(options.listen);
  const { gateway } = config;
  const clientKeys = openClientKeys(gateway.clientKeysFile, log);
  const hasOthers = gateway.adminToken !== null || clientKeys !== null;
  const workerToken =
    tokenSource("COORDINATOR_TOKEN_FILE", config.coordinatorTokenFile, log) ?? config.coordinatorToken;
  const tls = openTls(
    {
      ...gateway,
      tlsCertFile: options.tlsCert ?? gateway.tlsCertFile,
      tlsKeyFile: options.tlsKey ?? gateway.tlsKeyFile,
    },
    log,
  );
  const server = await startCoordinator({
    ...{ host, port, log, workerToken },
    clientToken: hasOthers ? null : workerToken,
    adminToken: tokenSource("ADMIN_TOKEN_FILE", gateway.adminTokenFile, log) ?? gateway.adminToken,
    ...(clientKeys ? { clientKeys } : {}),
    ...(tls ? { tls } : {}),
    corsOrigins: gateway.corsOrigins,
    maxQueue: gateway.maxQueue ?? undefined,
    maxQueuePerKey: gateway.maxQueuePerKey,
    jobRetentionMs: gateway.jobRetentionMs ?? undefined,
    ...termsOf(options),
    ...(await keeperOf(options.store, config)),
  });
  const [url, wsUrl] = [server.url, server.wsUrl].map(forOthers);
  log.info(
    `The coordinator listens on ${server.url}; workers connect with COORDINATOR_URL=${wsUrl}, OpenAI clients with the base URL ${url}/v1; the dashboard is at ${url}/`,
  );
  await Promise.race([once(process, "SIGTERM"), once(process, "SIGINT")]);
  await server.close();
  return EXIT.ok;
}

/** Who is elsewhere connects to this host, not to "every address". */
function forOthers(url: string): string {
  return url.replace(/(?<=\/\/)(?:0\.0\.0\.0|\[::\])(?=:)/, hostname());
}

/** What keeps the jobs. */
async function keeperOf(
  store: string | undefined,
  { nats }: Config,
): Promise<Pick<CoordinatorOptions, "store" | "backend">> {
  const isNats = store !== undefined && /^(nats|tls):/i.test(store);
  const servers = isNats ? natsServers(store) : store === undefined ? nats.servers : null;
  if (isNats && !servers) {
    throw new MusterError("USAGE", "--store has a URL of NATS that is none, or carries credentials (not shown).", {
      hint: "For example: muster coordinator --store nats://nats:4222, with NATS_USER and NATS_PASSWORD_FILE",
    });
  }
  if (servers) {
    const { natsBackend } = await import("../coordinator/nats/open-nats.ts");
    return { backend: natsBackend({ ...nats, servers }) };
  }
  return { store: store ? openSqliteStore(store) : openMemoryStore() };
}

function parseListen(listen: string): { host: string; port: number } {
  const [, host, port] = /^(?:(\[[^\]]+\]|[^:]*):)?(\d{1,5})$/.exec(listen) ?? [];
  if (port === undefined || Number(port) > 65_535) {
    throw new MusterError("USAGE", `--listen is ${JSON.stringify(listen)}; allowed: HOST:PORT or PORT.`, {
      hint: "For example: muster coordinator --listen 127.0.0.1:8400",
    });
  }
  return { host: (host || "127.0.0.1").replace(/^\[|\]$/g, ""), port: Number(port) };
}

const LONGEST_MS = 3_600_000;

function termsOf(options: CoordinatorFlags): { beatMs: number; leaseMs: number; graceMs: number } {
  const beatMs = milliseconds("--beat-ms", options.beatMs, BEAT_MS.max);
  const leaseMs = milliseconds("--lease-ms", options.leaseMs);
  const graceMs = milliseconds("--grace-ms", options.graceMs);
  // For so long a worker waits for an acknowledgement: its jobs are to be its own for longer.
  const silentMs = SILENT_BEATS * beatMs;
  if (leaseMs > silentMs) return { beatMs, leaseMs, graceMs };
  throw new MusterError(
    "USAGE",
    `--lease-ms is ${leaseMs}; with --beat-ms ${beatMs} it has to be more than ${silentMs} (${SILENT_BEATS} beats).`,
    { hint: `For example: muster coordinator --beat-ms ${beatMs} --lease-ms ${Math.ceil(4.5 * beatMs)}` },
  );
}

function milliseconds(name: string, given: string, max = LONGEST_MS): number {
  const value = Number(given);
  if (Number.isInteger(value) && value >= BEAT_MS.min && value <= max) return value;
  const allowed = `whole milliseconds, ${BEAT_MS.min} to ${max}`;
  throw new MusterError("USAGE", `${name} is ${JSON.stringify(given)}; allowed: ${allowed}.`, {
    hint: "For example: muster coordinator --beat-ms 10000 --lease-ms 45000",
  });
}
