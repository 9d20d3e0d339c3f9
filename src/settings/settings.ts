import * as z from "zod";
import { engineSettings } from "./engine.ts";
import { gatewaySettings } from "./gateway.ts";
import { hardwareSettings } from "./hardware.ts";
import { natsSettings } from "./nats.ts";
import { objectStoreSettings } from "./object-store.ts";
import { policySettings } from "./policy.ts";
import { setting } from "./setting.ts";
import { bandwidth, choice, duration, flag, isUrl, number, path, port, text, token } from "./values.ts";
import { volumeSettings } from "./volume.ts";

const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof LEVELS)[number];

/** Every setting, by the name of its environment variable. The tables in README and docs are made from this. */
export const settings = z.object({
  WORKER_TYPE: setting("Worker", text, {
    description: "Which set of models this worker serves: an id of `workerTypes` in the catalog.",
    allowed: "an id of the catalog",
    otherwise: "none; `start` and `sync` need it",
  }),
  WORKER_ID: setting("Worker", z.stringFormat("worker id", /^[\w.-]{1,128}$/), {
    description: "Name under which the coordinator knows this worker.",
    allowed: "1 to 128 letters, digits, dots, dashes, underscores",
    otherwise: "made once and kept in STATE_DIR",
  }),
  WORKER_TYPES_FILE: setting("Worker", text, {
    description: "The catalog of models and worker types (a path or a file:// URL) in place of the built-in one.",
    allowed: "a path or file:// URL",
    otherwise: "the `worker-types.json` of the image",
  }),
  WORKER_TYPES_OVERLAY: setting("Worker", text, {
    description: "A second catalog file whose entries are added to, or override, those of the first.",
    allowed: "a path or file:// URL",
    otherwise: "none",
  }),
  ...policySettings,
  ...volumeSettings,
  HF_TOKEN: setting("Hub", token, {
    description: "Access token for gated and private models.",
    allowed: "printable characters without spaces",
    otherwise: "none",
    secret: true,
  }),
  HF_TOKEN_FILE: setting("Hub", path, {
    description: "File that holds the access token (a container secret).",
    allowed: "a readable file",
    otherwise: "none",
  }),
  HF_TOKEN_PATH: setting("Hub", path, {
    description: "Where Hugging Face tools keep the token after a login; read when it is there.",
    allowed: "a path",
    otherwise: "`$HF_HOME/token`",
  }),
  HF_ENDPOINT: setting("Hub", text, {
    description:
      "Where models of the hub are had: one or several hubs, buckets or folders, best first; what one cannot give is asked of the next.",
    allowed: "http(s) URLs, `s3://bucket/prefix`, paths or file:// URLs, with commas between them",
    otherwise: "`https://huggingface.co`",
  }),
  OLLAMA_REGISTRY: setting("Hub", text, {
    description: "Ollama's registry, or mirrors of it (also ones that pull through), asked in this order.",
    allowed: "one or more http(s) URLs, separated by commas",
    otherwise: "`https://registry.ollama.ai`",
  }),
  OLLAMA_STORE: setting("Hub", choice("volume", "server"), {
    description:
      "Who keeps Ollama models: this volume, in OLLAMA_MODELS, or the server at OLLAMA_URL, which pulls them.",
    allowed: "volume or server",
    otherwise: "`volume`",
  }),
  HF_HUB_OFFLINE: setting("Hub", flag, {
    description: "Never ask the network; use what is on the volume.",
    allowed: "true or false",
    otherwise: "`false`",
  }),
  ...objectStoreSettings,
  ...hardwareSettings,
  ...engineSettings,
  COORDINATOR_URL: setting(
    "Coordinator",
    z.string().refine((value) => isUrl(value, ["ws:", "wss:", "http:", "https:"])),
    {
      description: "Where this worker registers. `ws://` is taken for loopback and private networks only.",
      allowed: "a ws:// or wss:// URL",
      otherwise: "none; the worker stands alone",
    },
  ),
  COORDINATOR_TOKEN: setting("Coordinator", token, {
    description:
      "Bearer token for the coordinator; for `muster coordinator`, the token it asks workers for, and everybody where there is no other.",
    allowed: "printable characters without spaces",
    otherwise: "none",
    secret: true,
  }),
  COORDINATOR_TOKEN_FILE: setting("Coordinator", path, {
    description: "File that holds the token; read again at every connection.",
    allowed: "a readable file",
    otherwise: "none",
  }),
  COORDINATOR_CA_FILE: setting("Coordinator", path, {
    description: "PEM file of the authority that signed the coordinator's certificate.",
    allowed: "a readable file",
    otherwise: "the system's authorities",
  }),
  ...natsSettings,
  COORDINATOR_CERT_FILE: setting("Coordinator", path, {
    description:
      "PEM file of this worker's own certificate, for a coordinator that asks for one (mTLS); read again at every connection.",
    allowed: "a readable file, together with COORDINATOR_KEY_FILE",
    otherwise: "none is shown",
  }),
  COORDINATOR_KEY_FILE: setting("Coordinator", path, {
    description: "PEM file of the key that belongs to it, without a passphrase.",
    allowed: "a readable file, together with COORDINATOR_CERT_FILE",
    otherwise: "none",
  }),
  ...gatewaySettings,
  MAX_CONNECTIONS: setting(
    "Transfer",
    number.refine((value) => Number.isInteger(value) && value >= 1 && value <= 256),
    {
      description: "Most connections open at once for fetching; as few are opened as fill the link.",
      allowed: "1 to 256",
      otherwise: "`48`",
    },
  ),
  MAX_BANDWIDTH: setting("Transfer", bandwidth, {
    description: "Most that fetching takes of the link, of all connections of this process together.",
    allowed: "a rate such as 100MB/s or 800Mbit/s, at least 10kB/s",
    otherwise: "no limit",
  }),
  STALL_TIMEOUT: setting(
    "Transfer",
    // With less no connection is ever made, and it is tried again for ever.
    duration.refine((value) => value >= 1000),
    {
      description: "A connection that gives no byte for this long is given up and tried again.",
      allowed: "a duration such as 30s or 2m, at least 1s and at most 596h",
      otherwise: "`30s`",
    },
  ),
  DRAIN_TIMEOUT: setting("Operation", duration, {
    description: "Time that running work gets to end after SIGTERM.",
    allowed: "a duration such as 25s or 2m, at most 596h",
    otherwise: "`25s`",
  }),
  HTTP_PORT: setting("Operation", port, {
    description: "Port of /livez, /readyz, /status and /metrics; 0 takes any free one.",
    allowed: "0 to 65535",
    otherwise: "`9180`, or any free one where that is taken",
  }),
  HTTP_HOST: setting("Operation", text, {
    description: "Address those are served on.",
    allowed: "an address",
    otherwise: "all addresses",
  }),
  STATE_DIR: setting("Operation", path, {
    description:
      "Private folder of this worker (its identity, its HTTP port, results that wait for the coordinator, models that it asked for). Never the shared volume.",
    allowed: "a path",
    otherwise: "`/var/lib/muster`, else `$XDG_STATE_HOME/muster`, else a folder under the temporary one",
  }),
  LOG_LEVEL: setting(
    "Operation",
    z
      .string()
      .toLowerCase()
      .transform((value) => (value === "warning" ? "warn" : value))
      .pipe(z.enum(LEVELS)),
    {
      description: "Least level that is logged, in any case.",
      allowed: LEVELS.join(", "),
      otherwise: "`info`",
    },
  ),
  LOG_FORMAT: setting("Operation", choice("text", "json"), {
    description: "Form of a log line.",
    allowed: "text or json",
    otherwise: "`text`",
  }),
  LOG_PAYLOADS: setting("Operation", flag, {
    description:
      "Log what jobs ask and answer, shortened: prompts, and all that is in them. For tracking down a problem.",
    allowed: "true or false",
    otherwise: "`false`",
  }),
  LOG_FILE: setting("Operation", text, {
    description: "File that gets every log line as well; `none` for no file.",
    allowed: "a path, or none",
    otherwise: "`/var/log/model-download.log` when that is writable",
  }),
});

export type Settings = z.output<typeof settings>;
