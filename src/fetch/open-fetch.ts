import type { Config } from "../config.ts";
import type { Logger } from "../log.ts";
import { createLayout } from "../store/layout.ts";
import { usedBytes } from "../store/used-bytes.ts";
import { USER_AGENT } from "./ask.ts";
import { DiskBudget } from "./disk-budget.ts";
import { createDispatcher } from "./dispatcher.ts";
import { KnownContent } from "./known-content.ts";
import { huggingFaceOrigin } from "./sources/huggingface.ts";
import type { SyncContext } from "./sync-context.ts";
import { Lanes } from "./transfer/lanes.ts";

/** Attempts after the first, for the small questions to a hub. */
const API_RETRIES = 4;

/** Everything fetching works with, made from the configuration. Dispose of it when done. */
export function openFetch(config: Config, log: Logger, signal?: AbortSignal): SyncContext & AsyncDisposable {
  const { stallTimeoutMs, maxConnections } = config;
  const dispatcher = createDispatcher({ connections: 8, stallTimeoutMs });
  const lanes = new Lanes({
    connections: maxConnections,
    stallTimeoutMs,
    userAgent: USER_AGENT,
    verify: true,
    bandwidth: config.maxBandwidth,
  });
  const layout = createLayout(config.modelCacheDir, config.hfHubCache);
  return {
    volume: config.modelCacheDir,
    layout,
    offline: config.offline,
    described: new Map(),
    origins: {
      huggingface: [huggingFaceOrigin({ endpoint: config.hfEndpoint, token: config.hfToken })],
      ollama: [],
      s3: [],
      path: [],
    },
    ask: {
      dispatcher,
      retries: API_RETRIES,
      onRetry: (error, delayMs) => log.warn(`${error.message} Trying again in ${(delayMs / 1000).toFixed(1)} s`),
    },
    lanes,
    content: new KnownContent(),
    disk: new DiskBudget({
      minFreeBytes: config.minFreeBytes,
      maxCacheBytes: config.maxCacheBytes,
      usedBytes: () => usedBytes(layout.modelFolders),
    }),
    signal,
    async [Symbol.asyncDispose]() {
      await Promise.all([lanes.close(), dispatcher.destroy()]);
    },
  };
}
