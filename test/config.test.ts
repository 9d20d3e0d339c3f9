import { writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it, onTestFinished } from "vitest";
import { type Config, currentCoordinatorToken, parseConfig } from "../src/config.ts";
import { MusterError } from "../src/errors.ts";
import { redact } from "../src/redact.ts";
import { settings } from "../src/settings/settings.ts";
import { temporaryFolder } from "./store/temporary-folder.ts";

/** The environment's error, whole. */
function refusal(env: Record<string, string | undefined>): MusterError {
  try {
    parseConfig(env);
  } catch (error) {
    expect(error).toBeInstanceOf(MusterError);
    expect(error).toMatchObject({ code: "CONFIG_INVALID", exitCode: 78, hint: expect.stringContaining("docs/") });
    return error as MusterError;
  }
  throw new Error("the configuration was taken");
}

const problems = (env: Record<string, string | undefined>) => refusal(env).details.problems as string[];

function file(content: string, name = "secret"): string {
  const path = join(temporaryFolder(), name);
  writeFileSync(path, content);
  return path;
}

it("holds the defaults where nothing is set", () => {
  expect(parseConfig({})).toMatchObject({
    workerType: null,
    workerId: null,
    catalogFile: join(import.meta.dirname, "..", "worker-types.json"),
    catalogOverlay: null,
    modelCacheDir: "/models",
    hfHome: "/models/huggingface",
    hfHubCache: "/models/huggingface/hub",
    ollamaModels: "/models/ollama",
    vllmCache: "/models/vllm",
    minFreeBytes: null,
    mirrors: [{ kind: "hub", endpoint: "https://huggingface.co" }],
    s3: { endpoint: null, forcePathStyle: false, region: null },
    offline: false,
    enableGpu: "auto",
    coordinatorUrl: null,
    coordinatorToken: null,
    maxConnections: 48,
    maxBandwidth: null,
    stallTimeoutMs: 30_000,
    drainTimeoutMs: 25_000,
    httpPort: null,
    logLevel: "info",
    logFormat: "text",
    logFile: { path: "/var/log/model-download.log", required: false },
    warnings: [],
  });
});

it("takes an empty variable for an unset one, but for CUDA_VISIBLE_DEVICES", () => {
  const empty = Object.fromEntries(Object.keys(settings.shape).map((name, index) => [name, index % 2 ? "" : " \t"]));
  const { visibleDevices, ...rest } = parseConfig({ ...empty, CUDA_VISIBLE_DEVICES: "" });
  const { visibleDevices: unset, ...defaults } = parseConfig({});
  expect(rest).toEqual(defaults);
  expect(unset.cuda).toBeUndefined();
  expect(visibleDevices).toEqual({ nvidia: undefined, cuda: "", rocr: undefined, hip: undefined });
});

describe("problems", () => {
  it("are reported together, each with name, value and what is allowed", () => {
    const error = refusal({
      HTTP_PORT: "70000",
      ENABLE_GPU: "maybe",
      MAX_CONNECTIONS: "0",
      COORDINATOR_CA_FILE: "/nowhere/ca.pem",
    });
    expect(error.details.problems).toEqual([
      'ENABLE_GPU is "maybe"; allowed: auto, true or false.',
      'MAX_CONNECTIONS is "0"; allowed: 1 to 256.',
      'HTTP_PORT is "70000"; allowed: 0 to 65535.',
      'COORDINATOR_CA_FILE is "/nowhere/ca.pem", which cannot be read (ENOENT); allowed: a readable file.',
    ]);
    expect(error.message).toMatch(/^The configuration has 4 problems:\n {2}ENABLE_GPU/);
    expect(refusal({ ENABLE_GPU: "maybe" }).message).toMatch("has a problem:");
  });

  it.each([
    ["WORKER_ID", "two words"],
    ["WORKER_ID", "x".repeat(129)],
    ["WORKER_TYPES_FILE", "file://another-host/catalog.json"],
    ["WORKER_TYPES_OVERLAY", "file:///a%2Fb.json"],
    ["MIN_FREE_GB", "-1"],
    ["HF_ENDPOINT", "huggingface.co"],
    ["HF_ENDPOINT", "ftp://mirror"],
    ["HF_ENDPOINT", ","],
    ["S3_ENDPOINT", "minio:9000"],
    ["HF_HUB_OFFLINE", "perhaps"],
    ["MIN_GPU_MEMORY_GB", "8GB"],
    ["OLLAMA_URL", "localhost:11434"],
    ["OLLAMA_REGISTRY", "registry.ollama.ai"],
    ["OLLAMA_STORE", "both"],
    ["COORDINATOR_URL", "coordinator:8400"],
    ["COORDINATOR_URL", "wss://"],
    ["MAX_CONNECTIONS", "1.5"],
    ["MAX_CONNECTIONS", "257"],
    ["STALL_TIMEOUT", "soon"],
    ["STALL_TIMEOUT", "30 s"],
    ["STALL_TIMEOUT", "0"],
    ["STALL_TIMEOUT", "999ms"],
    ["DRAIN_TIMEOUT", "600h"],
    ["HTTP_PORT", "-1"],
    ["LOG_LEVEL", "loud"],
    ["LOG_FORMAT", "xml"],
  ])("%s=%s is refused by name and value", (name, value) => {
    expect(problems({ [name]: value })).toEqual([expect.stringMatching(new RegExp(`^${name} is .*; allowed: .+\\.$`))]);
    expect(problems({ [name]: value })[0]).toContain(JSON.stringify(value));
  });
});

it("says what numbers are allowed", () => {
  for (const name of ["MAX_CACHE_GB", "MIN_FREE_GB", "MIN_GPU_MEMORY_GB"]) {
    expect(problems({ [name]: "-1" })).toEqual([`${name} is "-1"; allowed: a number, 0 or more.`]);
  }
});

it("tells an ALLOWED_LICENSES that names none from one that is missing", () => {
  const empty = 'ALLOWED_LICENSES is ",", which names no licence; set it to ids such as mit,apache-2.0.';
  expect(problems({ ALLOWED_LICENSES: "," })).toEqual([empty]);
  expect(problems({ ALLOWED_LICENSES: ",", LICENSE_POLICY: "warn" })).toEqual([empty]);
  expect(problems({ LICENSE_POLICY: "warn" })).toEqual([
    "LICENSE_POLICY is set, and ALLOWED_LICENSES is not; set it to ids such as mit,apache-2.0.",
  ]);
});

describe("secrets are never shown", () => {
  const SECRET = "s3cr3t-Zx9";
  const secretFile = (content: string) => () => file(content);
  it.each<[string, string, string | (() => string)]>([
    ["a bad token", "HF_TOKEN", `${SECRET} ${SECRET}`],
    ["a bad coordinator token", "COORDINATOR_TOKEN", `${SECRET}\u00e9`],
    ["a bad token file", "HF_TOKEN_FILE", secretFile(`${SECRET}\n${SECRET}\n`)],
    ["a bad coordinator token file", "COORDINATOR_TOKEN_FILE", secretFile(`${SECRET} ${SECRET}`)],
    ["a URL with a user and password", "COORDINATOR_URL", `wss://me:${SECRET}@host`],
    ["a URL with a user", "COORDINATOR_URL", `wss://${SECRET}@host`],
    ["a URL with a token", "COORDINATOR_URL", `wss://host/?worker-token=${SECRET}`],
    ["a public ws:// URL with credentials", "COORDINATOR_URL", `ws://me:${SECRET}@example.com/?x=${SECRET}`],
    ["an unusable URL with credentials", "COORDINATOR_URL", `ftp://me:a"b c@${SECRET}@host`],
    ["an unusable hub with a comma in its password", "HF_ENDPOINT", `https://hub,ftp://me:x,${SECRET}@host`],
    ["an unusable hub with credentials", "HF_ENDPOINT", `ftp:me:${SECRET}@host`],
    ["a bad engine's key", "VLLM_API_KEY", `${SECRET} ${SECRET}`],
    ["a bad engine's key file", "OPENAI_API_KEY_FILE", secretFile(`${SECRET} ${SECRET}`)],
    ["an unusable engine with a key", "VLLM_URL", `ftp://host/?q=${SECRET}`],
  ])("%s", (_what, name, value) => {
    const error = refusal({ [name]: typeof value === "string" ? value : value() });
    expect(error.details.problems).toHaveLength(error.message.match(/allowed/g)!.length);
    expect(`${error.stack} ${JSON.stringify(error)}`).not.toContain(SECRET);
    expect(error.message).toContain(name);
  });
});

it("takes the keys of engines by value, else from files, and has them redacted", () => {
  const env = {
    VLLM_API_KEY: "vllm-key-1",
    VLLM_API_KEY_FILE: "/nowhere",
    OPENAI_API_KEY_FILE: file("openai-key-2\n"),
  };
  expect(parseConfig(env).engineKeys).toEqual({ vllm: "vllm-key-1", openai: "openai-key-2" });
  expect(redact("vllm-key-1 openai-key-2")).toBe("[redacted] [redacted]");
  expect(parseConfig({}).engineKeys).toEqual({ vllm: null, openai: null });
});

describe("folders", () => {
  it.each<[string, Record<string, string>, Partial<Config>]>([
    [
      "follow MODEL_CACHE_DIR",
      { MODEL_CACHE_DIR: "/data/m" },
      {
        modelCacheDir: "/data/m",
        hfHome: "/data/m/huggingface",
        hfHubCache: "/data/m/huggingface/hub",
        ollamaModels: "/data/m/ollama",
        vllmCache: "/data/m/vllm",
      },
    ],
    ["follow MODELS_DIR without it", { MODELS_DIR: "/old" }, { modelCacheDir: "/old", vllmCache: "/old/vllm" }],
    ["the hub cache follows HF_HOME", { HF_HOME: "/hf" }, { hfHubCache: "/hf/hub", modelCacheDir: "/models" }],
    ["HF_HUB_CACHE wins over HF_HOME", { HF_HOME: "/hf", HF_HUB_CACHE: "/hub" }, { hfHome: "/hf", hfHubCache: "/hub" }],
    ["are made absolute", { MODEL_CACHE_DIR: "models/" }, { modelCacheDir: join(process.cwd(), "models") }],
    [
      "file:// URLs name catalogs",
      { WORKER_TYPES_FILE: "file:///etc/a%20b.json", WORKER_TYPES_OVERLAY: "more.json" },
      { catalogFile: "/etc/a b.json", catalogOverlay: join(process.cwd(), "more.json") },
    ],
  ])("%s", (_what, env, expected) => {
    expect(parseConfig(env)).toMatchObject(expected);
  });

  it("warns where MODEL_CACHE_DIR and MODELS_DIR differ", () => {
    const config = parseConfig({ MODEL_CACHE_DIR: "/a", MODELS_DIR: "/b" });
    expect(config.modelCacheDir).toBe("/a");
    expect(config.warnings).toEqual([expect.stringMatching("MODEL_CACHE_DIR=/a and MODELS_DIR=/b differ")]);
    expect(parseConfig({ MODEL_CACHE_DIR: "/a", MODELS_DIR: "/a/" }).warnings).toEqual([]);
  });

  it("warns of a TRANSFORMERS_CACHE that is not followed", () => {
    expect(parseConfig({ TRANSFORMERS_CACHE: "/elsewhere" }).warnings).toEqual([
      expect.stringMatching("TRANSFORMERS_CACHE=/elsewhere is not followed.*HF_HUB_CACHE=/models/huggingface/hub"),
    ]);
    expect(parseConfig({ TRANSFORMERS_CACHE: "/models/huggingface/hub" }).warnings).toEqual([]);
  });
});

describe("the hub's token", () => {
  it("comes from HF_TOKEN, else HF_TOKEN_FILE, else HF_TOKEN_PATH, else the place of a login", () => {
    const home = temporaryFolder();
    writeFileSync(join(home, "token"), "hf-login\n");
    const env: Record<string, string> = {
      HF_TOKEN: " hf-value ",
      HF_TOKEN_FILE: file("hf-file\n"),
      HF_TOKEN_PATH: file("hf-path"),
      HF_HOME: home,
    };
    for (const [name, token] of [
      ["HF_TOKEN", "hf-value"],
      ["HF_TOKEN_FILE", "hf-file"],
      ["HF_TOKEN_PATH", "hf-path"],
      ["HF_HOME", "hf-login"],
    ] as const) {
      expect(parseConfig(env).hfToken).toBe(token);
      delete env[name];
    }
    expect(parseConfig(env).hfToken).toBeNull();
  });

  it("a file that was named has to be there and hold one token; a default place need not", () => {
    expect(problems({ HF_TOKEN_FILE: "/nowhere/token" })).toEqual([
      'HF_TOKEN_FILE is "/nowhere/token", which cannot be read (ENOENT); allowed: a readable file.',
    ]);
    expect(problems({ HF_TOKEN_FILE: file(" \n", "empty") })[0]).toMatch(/empty, which is empty; allowed: .*one token/);
    expect(parseConfig({ HF_TOKEN_PATH: "/nowhere/token" }).hfToken).toBeNull();
    expect(parseConfig({ HF_TOKEN_PATH: file("two words") }).hfToken).toBeNull();
  });
});

describe("the coordinator", () => {
  it.each([
    ["ws://127.0.0.1:8400", "ws://127.0.0.1:8400/"],
    ["ws://localhost/path?region=eu", "ws://localhost/path?region=eu"],
    ["http://coordinator:8400", "ws://coordinator:8400/"],
    ["HTTPS://example.com/v1", "wss://example.com/v1"],
    ["wss://example.com", "wss://example.com/"],
    ["ws://10.1.2.3", "ws://10.1.2.3/"],
    ["ws://172.31.0.1", "ws://172.31.0.1/"],
    ["ws://192.168.1.1", "ws://192.168.1.1/"],
    ["ws://100.64.0.1", "ws://100.64.0.1/"],
    ["ws://[::1]:1", "ws://[::1]:1/"],
    ["ws://[fd00::1]", "ws://[fd00::1]/"],
    ["ws://[fe80::1]", "ws://[fe80::1]/"],
    ["ws://muster.default.svc", "ws://muster.default.svc/"],
    ["ws://muster.default.svc.cluster.local", "ws://muster.default.svc.cluster.local/"],
    ["wss://example.com/#fragment", "wss://example.com/"],
    ["wss://example.com/?worker=monkey", "wss://example.com/?worker=monkey"],
  ])("COORDINATOR_URL=%s becomes %s", (given, url) => {
    expect(parseConfig({ COORDINATOR_URL: given }).coordinatorUrl).toBe(url);
  });

  it.each([
    "ws://example.com",
    "http://example.com",
    "ws://8.8.8.8",
    "ws://172.32.0.1",
    "ws://100.128.0.1",
    "ws://[2001:db8::1]",
    "ws://[::1:2:3]",
    "ws://10.example.com",
    "ws://127.0.0.1.example.com",
    "ws://localhost.example.com",
  ])("COORDINATOR_URL=%s would leave the private network unencrypted", (given) => {
    expect(problems({ COORDINATOR_URL: given })).toEqual([
      `COORDINATOR_URL is "${given}"; allowed: wss:// for a host outside loopback and private networks.`,
    ]);
  });

  it("has a token that may be rotated in its file", () => {
    const path = file("first-token\n");
    const config = parseConfig({ COORDINATOR_TOKEN_FILE: path });
    expect(config.coordinatorToken).toBe("first-token");
    for (const [content, token] of [
      ["second-token\n", "second-token"],
      ["", "first-token"],
      ["half a token", "first-token"],
      ["third-token", "third-token"],
    ] as const) {
      writeFileSync(path, content);
      expect(currentCoordinatorToken(config)).toBe(token);
    }
    expect(currentCoordinatorToken({ ...config, coordinatorTokenFile: "/nowhere" })).toBe("first-token");
  });

  it("a token given by value wins over the file, then and later", () => {
    const config = parseConfig({ COORDINATOR_TOKEN: "by-value", COORDINATOR_TOKEN_FILE: file("in-file") });
    expect(config.coordinatorToken).toBe("by-value");
    expect(currentCoordinatorToken(config)).toBe("by-value");
    expect(currentCoordinatorToken(parseConfig({}))).toBeNull();
  });

  it("has its authority read", () => {
    expect(parseConfig({ COORDINATOR_CA_FILE: file("PEM") }).coordinatorCa).toBe("PEM");
  });

  it("has a certificate and its key, by their paths, or neither", () => {
    const [cert, key] = [file("CERT"), file("KEY")];
    const given = { COORDINATOR_CERT_FILE: cert, COORDINATOR_KEY_FILE: key };
    expect(parseConfig(given).coordinatorCertificate).toEqual({ cert, key });
    expect(parseConfig({}).coordinatorCertificate).toBeNull();
    expect(() => parseConfig({ COORDINATOR_CERT_FILE: cert })).toThrow(
      "COORDINATOR_CERT_FILE is set without COORDINATOR_KEY_FILE; allowed: both, or neither.",
    );
    expect(() => parseConfig({ COORDINATOR_KEY_FILE: key })).toThrow("without COORDINATOR_CERT_FILE");
    expect(() => parseConfig({ ...given, COORDINATOR_KEY_FILE: "/nowhere/key" })).toThrow(
      'COORDINATOR_KEY_FILE is "/nowhere/key", which cannot be read (ENOENT)',
    );
  });
});

it.each<[string, string, keyof Config, unknown]>([
  ["LOG_LEVEL", "DEBUG", "logLevel", "debug"],
  ["LOG_LEVEL", "Warning", "logLevel", "warn"],
  ["LOG_LEVEL", "Info", "logLevel", "info"],
  ["LOG_FORMAT", "JSON", "logFormat", "json"],
  ["LOG_FILE", "None", "logFile", null],
  ["LOG_FILE", "/tmp/a.log", "logFile", { path: "/tmp/a.log", required: true }],
  ["LOG_PAYLOADS", "yes", "logPayloads", true],
  ["STALL_TIMEOUT", "1000ms", "stallTimeoutMs", 1000],
  ["STALL_TIMEOUT", "1.5s", "stallTimeoutMs", 1500],
  ["DRAIN_TIMEOUT", "0", "drainTimeoutMs", 0],
  ["DRAIN_TIMEOUT", "250ms", "drainTimeoutMs", 250],
  ["DRAIN_TIMEOUT", "40", "drainTimeoutMs", 40_000],
  ["DRAIN_TIMEOUT", "2m", "drainTimeoutMs", 120_000],
  ["DRAIN_TIMEOUT", "1h", "drainTimeoutMs", 3_600_000],
  ["HF_ENDPOINT", "https://mirror.example/hub//", "mirrors", [{ kind: "hub", endpoint: "https://mirror.example/hub" }]],
  [
    "HF_ENDPOINT",
    "/mnt/nfs, s3://bucket/a/b/,https://hub,, file:///mnt/nfs,",
    "mirrors",
    [
      { kind: "path", path: "/mnt/nfs" },
      { kind: "s3", bucket: "bucket", prefix: "a/b" },
      { kind: "hub", endpoint: "https://hub" },
    ],
  ],
  [
    "AWS_ENDPOINT_URL",
    "http://minio:9000",
    "s3",
    { endpoint: "http://minio:9000", forcePathStyle: true, region: "us-east-1" },
  ],
  ["AWS_REGION", "eu-central-1", "s3", { endpoint: null, forcePathStyle: false, region: "eu-central-1" }],
  ["HF_HUB_OFFLINE", "On", "offline", true],
  ["HF_HUB_OFFLINE", "0", "offline", false],
  ["ENABLE_GPU", "TRUE", "enableGpu", "true"],
  ["ENABLE_GPU", "1", "enableGpu", "true"],
  ["ENABLE_GPU", "0", "enableGpu", "false"],
  ["ENABLE_GPU", "Auto", "enableGpu", "auto"],
  ["MIN_GPU_MEMORY_GB", "7.5", "minGpuMemoryGb", 7.5],
  ["MIN_FREE_GB", "2", "minFreeBytes", 2e9],
  ["HTTP_PORT", "0", "httpPort", 0],
  ["WORKER_ID", " worker-1 ", "workerId", "worker-1"],
])("%s=%s", (name, value, field, expected) => {
  expect(parseConfig({ [name]: value })[field]).toEqual(expected);
});

it("never throws anything but CONFIG_INVALID, whatever the environment", () => {
  const folder = temporaryFolder();
  const before = process.cwd();
  process.chdir(folder);
  onTestFinished(() => process.chdir(before));
  const names = Object.keys(settings.shape);
  const url = fc
    .tuple(fc.constantFrom("file:", "file://", "ws://", "http:", "wss://u:p@", "ftp://"), fc.string({ unit: "binary" }))
    .map((parts) => parts.join(""));
  const value = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.string(),
    url,
    fc.webUrl({ withQueryParameters: true, withFragments: true }),
    fc.constantFrom("true", "0", "-1", "1e9", "~", ".", folder, "/", "none", "\0", "[::1]"),
  );
  fc.assert(
    fc.property(fc.dictionary(fc.oneof(fc.constantFrom(...names), fc.string()), value, { maxKeys: 12 }), (env) => {
      try {
        parseConfig(env);
      } catch (error) {
        expect(error).toMatchObject({ name: "MusterError", code: "CONFIG_INVALID" });
        for (const problem of (error as MusterError).details.problems as string[]) {
          expect(problem).toMatch(/^[A-Z0-9_]+ .*; allowed: .+\.$/s);
        }
      }
    }),
    { numRuns: 300 },
  );
});
