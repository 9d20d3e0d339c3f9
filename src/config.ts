import { join, resolve } from "node:path";
import type * as z from "zod";
import type { CertificateFiles } from "./client-certificate.ts";
import type { ContentPolicy } from "./content-policy.ts";
import { coordinatorUrl } from "./coordinator-url.ts";
import { MusterError } from "./errors.ts";
import { readMirrors } from "./mirrors.ts";
import type { Place } from "./place.ts";
import { showValue } from "./redact.ts";
import { type EngineKeys, type EngineUrls, engineKeys, engineUrls } from "./settings/engine.ts";
import { filePath, readable, readToken, secret, secretFile } from "./settings/files.ts";
import { type GatewayConfig, gatewayConfig } from "./settings/gateway.ts";
import { type NatsSettings, readNatsSettings } from "./settings/nats.ts";
import { type ObjectStore, objectStore } from "./settings/object-store.ts";
import { contentPolicy, type ModelPolicy, modelPolicy } from "./settings/policy.ts";
import { settingMeta } from "./settings/setting.ts";
import { type LogLevel, type Settings, settings } from "./settings/settings.ts";
import { isUrl } from "./settings/values.ts";

/** In the repository or image root: the folder above `src/` or `dist/`. */
export const BUILT_IN_CATALOG = resolve(import.meta.dirname, "../worker-types.json");

export interface Config {
  workerType: string | null;
  workerId: string | null;
  modelPolicy: ModelPolicy;
  contentPolicy: ContentPolicy;
  catalogFile: string;
  catalogOverlay: string | null;
  modelCacheDir: string;
  hfHome: string;
  hfHubCache: string;
  ollamaModels: string;
  /** Hugging Face models are shown as plain folders too. */
  localDirs: boolean;
  vllmCache: string;
  /** null: 1 GB, or 2 % of a smaller volume. */
  minFreeBytes: number | null;
  maxCacheBytes: number | null;
  modelsLock: string;
  /** Nothing is fetched but what the lock names. */
  modelsLocked: boolean;
  /** Of each model, beside the one that it has now. */
  keepRevisions: number;
  /** Bytes a second that checking may read; null: the usual. */
  verifyRate: number | null;
  /** Milliseconds from one check of everything to the next; 0 for never. */
  scrubIntervalMs: number;
  hfToken: string | null;
  /** HF_ENDPOINT: where models of the hub are had, best first. */
  mirrors: Place[];
  s3: ObjectStore;
  /** In order of preference; at least one. */
  ollamaRegistries: string[];
  ollamaStore: "volume" | "server";
  offline: boolean;
  enableGpu: "auto" | "true" | "false";
  minGpuMemoryGb: number | null;
  /** Of each GPU of the machines that `sync --prefetch` is for; null: not said. */
  planGpuMemoryGb: number[] | null;
  visibleDevices: { nvidia?: string; cuda?: string; rocr?: string; hip?: string };
  engineUrls: EngineUrls;
  engineKeys: EngineKeys;
  coordinatorUrl: string | null;
  coordinatorToken: string | null;
  coordinatorTokenFile: string | null;
  /** PEM text of the coordinator's authority. */
  coordinatorCa: string | null;
  nats: NatsSettings;
  coordinatorCertificate: CertificateFiles | null;
  gateway: GatewayConfig;
  maxConnections: number;
  /** Bytes a second; null without a limit. */
  maxBandwidth: number | null;
  stallTimeoutMs: number;
  drainTimeoutMs: number;
  httpPort: number | null;
  httpHost: string | null;
  stateDir: string | null;
  logLevel: LogLevel;
  logFormat: "text" | "json";
  /** null: no file. `required` false: skipped without a word where it cannot be written. */
  logFile: { path: string; required: boolean } | null;
  /** Prompts and answers of jobs may stand in the log. */
  logPayloads: boolean;
  /** Settings that hold but deserve a word, for the log. */
  warnings: string[];
}

type Env = Record<string, string | undefined>;

/** Reads the environment once. Every problem is reported together; secrets are registered for redaction and never shown. */
export function parseConfig(env: Env): Config {
  // An empty variable is an unset one (compose files pass them so), but an empty CUDA_VISIBLE_DEVICES hides all GPUs.
  const given = Object.fromEntries(
    Object.entries(env).filter(
      ([name, value]) => value !== undefined && (value.trim() !== "" || name === "CUDA_VISIBLE_DEVICES"),
    ),
  );
  const problems: string[] = [];
  const values = validate(given, problems);
  const config = derive(values, problems);
  if (problems.length > 0) {
    throw new MusterError(
      "CONFIG_INVALID",
      `The configuration has ${count(problems.length)}:\n${problems.map((line) => `  ${line}`).join("\n")}`,
      {
        hint: "Correct the variables named above; `muster --help` and docs/configuration.md list all of them.",
        details: { problems },
      },
    );
  }
  return config;
}

function validate(given: Env, problems: string[]): Settings {
  const shape: Record<string, z.ZodType> = settings.shape;
  const values: Record<string, unknown> = {};
  for (const [name, schema] of Object.entries(shape)) {
    const found = name === "CUDA_VISIBLE_DEVICES" ? given[name] : given[name]?.trim();
    if (found === undefined) continue;
    const result = schema.safeParse(found);
    if (result.success) {
      values[name] = result.data;
      continue;
    }
    const meta = settingMeta(schema);
    problems.push(
      `${name} is ${meta.secret ? "set to something unusable (not shown)" : showValue(found)}; allowed: ${meta.allowed}.`,
    );
  }
  return values as Settings;
}

function derive(given: Settings, problems: string[]): Config {
  const modelCacheDir = given.MODEL_CACHE_DIR ?? given.MODELS_DIR ?? "/models";
  const hfHome = given.HF_HOME ?? join(modelCacheDir, "huggingface");
  const hfHubCache = given.HF_HUB_CACHE ?? join(hfHome, "hub");
  const hfToken =
    secret(given.HF_TOKEN) ??
    secretFile("HF_TOKEN_FILE", given.HF_TOKEN_FILE, problems) ??
    secretFile(null, given.HF_TOKEN_PATH ?? join(hfHome, "token"), problems);
  const coordinatorToken =
    secret(given.COORDINATOR_TOKEN) ?? secretFile("COORDINATOR_TOKEN_FILE", given.COORDINATOR_TOKEN_FILE, problems);
  return {
    workerType: given.WORKER_TYPE ?? null,
    workerId: given.WORKER_ID ?? null,
    modelPolicy: modelPolicy(given, problems),
    contentPolicy: contentPolicy(given, problems),
    catalogFile: filePath("WORKER_TYPES_FILE", given.WORKER_TYPES_FILE, problems) ?? BUILT_IN_CATALOG,
    catalogOverlay: filePath("WORKER_TYPES_OVERLAY", given.WORKER_TYPES_OVERLAY, problems),
    modelCacheDir,
    hfHome,
    hfHubCache,
    ollamaModels: given.OLLAMA_MODELS ?? join(modelCacheDir, "ollama"),
    vllmCache: given.VLLM_CACHE ?? join(modelCacheDir, "vllm"),
    minFreeBytes: given.MIN_FREE_GB === undefined ? null : given.MIN_FREE_GB * 1e9,
    maxCacheBytes: given.MAX_CACHE_GB === undefined ? null : given.MAX_CACHE_GB * 1e9,
    modelsLock: given.MODELS_LOCK ?? join(modelCacheDir, "models.lock.json"),
    modelsLocked: given.MODELS_LOCKED ?? false,
    localDirs: given.LOCAL_DIRS ?? false,
    keepRevisions: given.KEEP_REVISIONS ?? 1,
    verifyRate: given.VERIFY_RATE ?? null,
    scrubIntervalMs: given.SCRUB_INTERVAL ?? 0,
    hfToken,
    mirrors: readMirrors(given.HF_ENDPOINT, problems),
    s3: objectStore(given),
    ollamaRegistries: registries(given.OLLAMA_REGISTRY, problems),
    ollamaStore: ollamaStore(given, problems),
    offline: given.HF_HUB_OFFLINE ?? false,
    enableGpu: gpuMode(given.ENABLE_GPU),
    minGpuMemoryGb: given.MIN_GPU_MEMORY_GB ?? null,
    planGpuMemoryGb: given.PLAN_GPU_MEMORY_GB ?? null,
    visibleDevices: {
      nvidia: given.NVIDIA_VISIBLE_DEVICES,
      cuda: given.CUDA_VISIBLE_DEVICES,
      rocr: given.ROCR_VISIBLE_DEVICES,
      hip: given.HIP_VISIBLE_DEVICES,
    },
    engineUrls: engineUrls(given),
    engineKeys: engineKeys(given, problems),
    coordinatorUrl: coordinatorUrl(given.COORDINATOR_URL, problems),
    coordinatorToken,
    // A token given by value wins over the file, then and later.
    coordinatorTokenFile: given.COORDINATOR_TOKEN ? null : (given.COORDINATOR_TOKEN_FILE ?? null),
    coordinatorCa: given.COORDINATOR_CA_FILE
      ? readable("COORDINATOR_CA_FILE", given.COORDINATOR_CA_FILE, problems)
      : null,
    nats: readNatsSettings(given, problems),
    coordinatorCertificate: certificateFiles(given, problems),
    gateway: gatewayConfig(given, problems),
    maxConnections: given.MAX_CONNECTIONS ?? 48,
    maxBandwidth: given.MAX_BANDWIDTH ?? null,
    stallTimeoutMs: given.STALL_TIMEOUT ?? 30_000,
    drainTimeoutMs: given.DRAIN_TIMEOUT ?? 25_000,
    httpPort: given.HTTP_PORT ?? null,
    httpHost: given.HTTP_HOST ?? null,
    stateDir: given.STATE_DIR ?? null,
    logLevel: given.LOG_LEVEL ?? "info",
    logFormat: given.LOG_FORMAT ?? "text",
    logFile: logFile(given.LOG_FILE),
    logPayloads: given.LOG_PAYLOADS ?? false,
    warnings: warnings(given, hfHubCache),
  };
}

/** Paths only: they are read anew at every connection. */
function certificateFiles(given: Settings, problems: string[]): CertificateFiles | null {
  const { COORDINATOR_CERT_FILE: cert, COORDINATOR_KEY_FILE: key } = given;
  if (cert) readable("COORDINATOR_CERT_FILE", cert, problems);
  if (key) readable("COORDINATOR_KEY_FILE", key, problems);
  if (cert && key) return { cert, key };
  if (cert) problems.push("COORDINATOR_CERT_FILE is set without COORDINATOR_KEY_FILE; allowed: both, or neither.");
  if (key) problems.push("COORDINATOR_KEY_FILE is set without COORDINATOR_CERT_FILE; allowed: both, or neither.");
  return null;
}

function warnings(given: Settings, hfHubCache: string): string[] {
  const found: string[] = [];
  if (given.TRANSFORMERS_CACHE && given.TRANSFORMERS_CACHE !== hfHubCache) {
    found.push(
      `TRANSFORMERS_CACHE=${given.TRANSFORMERS_CACHE} is not followed; models stand in HF_HUB_CACHE=${hfHubCache}.`,
    );
  }
  if (given.MODEL_CACHE_DIR && given.MODELS_DIR && given.MODEL_CACHE_DIR !== given.MODELS_DIR) {
    found.push(
      `MODEL_CACHE_DIR=${given.MODEL_CACHE_DIR} and MODELS_DIR=${given.MODELS_DIR} differ; the first is used.`,
    );
  }
  return found;
}

function logFile(given: string | undefined): Config["logFile"] {
  if (given === undefined) return { path: "/var/log/model-download.log", required: false };
  return given.toLowerCase() === "none" ? null : { path: resolve(given), required: true };
}

function gpuMode(given: string | undefined): Config["enableGpu"] {
  const mode = (given ?? "auto").toLowerCase();
  if (mode === "1" || mode === "true") return "true";
  return mode === "0" || mode === "false" ? "false" : "auto";
}

function registries(given: string | undefined, problems: string[]): string[] {
  const urls = (given ?? "https://registry.ollama.ai").split(",").map((url) => url.trim());
  for (const url of urls.filter((each) => !isUrl(each, ["http:", "https:"])))
    problems.push(`OLLAMA_REGISTRY is ${showValue(url)}; allowed: one or more http(s) URLs, separated by commas.`);
  return urls.map((url) => url.replace(/\/+$/, ""));
}

function ollamaStore({ OLLAMA_STORE, OLLAMA_URL }: Settings, problems: string[]): Config["ollamaStore"] {
  if (OLLAMA_STORE === "server" && !OLLAMA_URL)
    problems.push('OLLAMA_STORE is "server" and OLLAMA_URL is not set; set it to the server that keeps the models.');
  return OLLAMA_STORE ?? "volume";
}

/** The coordinator's token as it is now: a token file is read again, so that rotating it needs no restart. */
export function currentCoordinatorToken(
  config: Pick<Config, "coordinatorToken" | "coordinatorTokenFile">,
): string | null {
  const { coordinatorToken, coordinatorTokenFile } = config;
  // A file that is being replaced may be away, empty or half written for a moment.
  return (coordinatorTokenFile ? readToken(coordinatorTokenFile) : null) ?? coordinatorToken;
}

function count(problems: number): string {
  return problems === 1 ? "a problem" : `${problems} problems`;
}
