import { type ContentPolicy, NO_CONTENT_POLICY } from "../../src/content-policy.ts";
import { USER_AGENT } from "../../src/fetch/ask.ts";
import { DiskBudget } from "../../src/fetch/disk-budget.ts";
import { HttpClient } from "../../src/fetch/http-client.ts";
import { bucketOpener } from "../../src/fetch/s3/open-bucket.ts";
import { hubMirrors } from "../../src/fetch/sources/hub-mirrors.ts";
import { ollamaOrigin } from "../../src/fetch/sources/ollama.ts";
import { openOllamaKey } from "../../src/fetch/sources/ollama-key.ts";
import { ollamaServer } from "../../src/fetch/sources/ollama-server.ts";
import { pathOrigin } from "../../src/fetch/sources/path.ts";
import { s3Origin } from "../../src/fetch/sources/s3.ts";
import type { SyncContext } from "../../src/fetch/sync-context.ts";
import { Lanes } from "../../src/fetch/transfer/lanes.ts";
import { type ModelSpec, plainVariant, type Variant } from "../../src/model.ts";
import { parsePlaces } from "../../src/place.ts";
import { createLayout } from "../../src/store/layout.ts";
import { usedBytes } from "../../src/store/used-bytes.ts";

/** What a sync needs to be told; plain data, so that a process of its own can be told as well. */
export interface SyncInput {
  /** As HF_ENDPOINT. */
  endpoint: string;
  volume: string;
  /** Ollama's, in order of preference. */
  registries?: string[];
  /** The server that keeps Ollama's models, in place of the volume. */
  ollamaServer?: string;
  s3Endpoint?: string;
  /** `huggingface/hub` on the volume. */
  hubCache?: string;
  localDirs?: boolean;
  token?: string;
  connections?: number;
  stallTimeoutMs?: number;
  retries?: number;
  offline?: boolean;
  contentPolicy?: Partial<ContentPolicy>;
  minFreeBytes?: number;
  maxCacheBytes?: number;
  toolWaitMs?: number;
}

/** Connections and transfer threads. */
export interface Transfer extends AsyncDisposable {
  client: HttpClient;
  lanes: Lanes;
}

export function openTransfer({ connections = 4, stallTimeoutMs = 10_000 }: SyncInput): Transfer {
  const client = new HttpClient({ connections: 4, stallTimeoutMs });
  const lanes = new Lanes({ connections, stallTimeoutMs, userAgent: USER_AGENT, verify: true, bandwidth: null });
  return {
    client,
    lanes,
    async [Symbol.asyncDispose]() {
      await Promise.all([lanes.close(), client[Symbol.asyncDispose]()]);
    },
  };
}

export function syncContext(input: SyncInput, { client, lanes }: Transfer, signal?: AbortSignal): SyncContext {
  const { endpoint, volume } = input;
  const openBucket = bucketOpener(
    { endpoint: input.s3Endpoint ?? null, forcePathStyle: true, region: "us-east-1" },
    client,
  );
  const layout = createLayout(volume, input.hubCache ?? `${volume}/huggingface/hub`, `${volume}/ollama`, input);
  return {
    volume,
    layout,
    offline: input.offline ?? false,
    contentPolicy: { ...NO_CONTENT_POLICY, ...input.contentPolicy },
    origins: {
      huggingface: hubMirrors(parsePlaces(endpoint).places, { token: input.token ?? null, openBucket }),
      ollama: (input.registries ?? []).map((registry) =>
        ollamaOrigin({ registry, key: () => openOllamaKey(volume, async () => volume) }),
      ),
      s3: [s3Origin(openBucket)],
      path: [pathOrigin(lanes)],
    },
    servers: input.ollamaServer
      ? { ollama: ollamaServer({ url: input.ollamaServer, stallTimeoutMs: input.stallTimeoutMs ?? 10_000 }) }
      : {},
    ask: { client, retries: input.retries ?? 4 },
    lanes,
    openBucket,
    toolWaitMs: input.toolWaitMs,
    disk: new DiskBudget({
      minFreeBytes: input.minFreeBytes ?? 0,
      maxCacheBytes: input.maxCacheBytes ?? null,
      usedBytes: () => usedBytes(layout.modelFolders),
    }),
    signal,
  };
}

export function modelSpec(location: string, variant: Partial<Variant> = {}): ModelSpec {
  return {
    id: location,
    task: "chat",
    required: true,
    license: "apache-2.0",
    gated: false,
    variant: plainVariant({
      id: "only",
      source: "huggingface",
      location,
      revision: "main",
      ...variant,
    }),
    context: null,
    slots: null,
    gpus: [0],
    share: { gpuMemory: null, sequences: null },
    adapterOf: null,
    prompts: {},
    reason: "a test",
  };
}
