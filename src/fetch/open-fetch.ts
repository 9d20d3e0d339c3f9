import { homedir } from "node:os";
import type { Config } from "../config.ts";
import type { Logger } from "../log.ts";
import { openAudit } from "../store/audit/audit-trail.ts";
import { createLayout } from "../store/layout.ts";
import { usedBytes } from "../store/used-bytes.ts";
import { stateDirectory } from "../system.ts";
import { USER_AGENT } from "./ask.ts";
import { DiskBudget } from "./disk-budget.ts";
import { HttpClient } from "./http-client.ts";
import { needLock } from "./lock-file.ts";
import type { ModelServer } from "./model-server.ts";
import { bucketOpener } from "./s3/open-bucket.ts";
import { hubMirrors } from "./sources/hub-mirrors.ts";
import { ollamaOrigin } from "./sources/ollama.ts";
import { openOllamaKey } from "./sources/ollama-key.ts";
import { pathOrigin } from "./sources/path.ts";
import { s3Origin } from "./sources/s3.ts";
import type { SyncContext } from "./sync-context.ts";
import { Lanes } from "./transfer/lanes.ts";
import { waitNote } from "./try-origins.ts";

/** Attempts after the first, for the small questions to a hub. */
const API_RETRIES = 4;

/** The Ollama server that keeps the models, where one does and not this volume. */
export async function serverOf({ ollamaStore, engineUrls, stallTimeoutMs }: Config): Promise<ModelServer | undefined> {
  if (ollamaStore !== "server" || !engineUrls.ollama) return undefined;
  const { ollamaServer } = await import("./sources/ollama-server.ts");
  return ollamaServer({ url: engineUrls.ollama, stallTimeoutMs });
}

/** Everything fetching works with, made from the configuration. Dispose of it when done. */
export async function openFetch(
  config: Config,
  log: Logger,
  signal?: AbortSignal,
): Promise<SyncContext & AsyncDisposable> {
  const { stallTimeoutMs, maxConnections } = config;
  const client = new HttpClient({ connections: 8, stallTimeoutMs });
  const openBucket = bucketOpener(config.s3, client);
  const lanes = new Lanes({
    connections: maxConnections,
    stallTimeoutMs,
    userAgent: USER_AGENT,
    verify: true,
    bandwidth: config.maxBandwidth,
  });
  const layout = createLayout(config.modelCacheDir, config.hfHubCache, config.ollamaModels, config);
  const key = () => openOllamaKey(homedir(), () => stateDirectory(config.stateDir));
  return {
    volume: config.modelCacheDir,
    layout,
    audit: openAudit({ layout, config, log }),
    offline: config.offline,
    contentPolicy: config.contentPolicy,
    lock: config.modelsLocked ? () => needLock(config.modelsLock) : null,
    described: new Map(),
    planned: new Map(),
    surveyed: new Map(),
    onFailover: (error, next) => log.warn(`${error.message} Asking ${next.name}`),
    onWait: (origin, waitMs) => log.warn(waitNote(origin, waitMs)),
    origins: {
      huggingface: hubMirrors(config.mirrors, { token: config.hfToken, openBucket }),
      ollama: config.ollamaRegistries.map((registry) => ollamaOrigin({ registry, key })),
      s3: [s3Origin(openBucket)],
      path: [pathOrigin(lanes)],
    },
    servers: { ollama: await serverOf(config) },
    ask: {
      client,
      retries: API_RETRIES,
      onRetry: (error, delayMs) => log.warn(`${error.message} Trying again in ${(delayMs / 1000).toFixed(1)} s`),
    },
    lanes,
    openBucket,
    disk: new DiskBudget({
      minFreeBytes: config.minFreeBytes,
      maxCacheBytes: config.maxCacheBytes,
      usedBytes: () => usedBytes(layout.modelFolders),
    }),
    signal,
    async [Symbol.asyncDispose]() {
      await Promise.all([lanes.close(), client[Symbol.asyncDispose]()]);
    },
  };
}
