import { mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Agent, type Dispatcher } from "undici";
import { type ClientCertificate, readClientCertificate } from "../client-certificate.ts";
import type { Config } from "../config.ts";
import { toMusterError } from "../errors.ts";
import { createDispatcher } from "../fetch/dispatcher.ts";
import { bytes } from "../fetch/progress-log.ts";
import { detect, openCatalog } from "../plan.ts";
import { findWorkerType } from "../select/worker-types.ts";
import { volumeError } from "../store/volume-error.ts";
import { diskSpace } from "../system.ts";
import { knock, TRY_MS } from "./knock.ts";

export interface Check {
  name: string;
  result: "ok" | "warn" | "fail";
  found: string;
  hint?: string;
}

export async function checkHardware(config: Config): Promise<Check[]> {
  const { gpus, cpu, memory, warnings, driverVersion } = await detect(config);
  const host = `${cpu.cores} CPU cores, ${(memory.totalBytes / 2 ** 30).toFixed(1)} GiB of memory`;
  const found = gpus.map(({ name, memoryTotalMiB }) => `${name} (${memoryTotalMiB ?? "?"} MiB)`).join(", ");
  const missing = gpus.length === 0 && config.enableGpu === "true";
  return [
    { name: "hardware", result: "ok", found: host },
    {
      name: "gpu",
      result: missing ? "fail" : warnings.length > 0 ? "warn" : "ok",
      found: gpus.length > 0 ? `${found}, driver ${driverVersion ?? "unknown"}` : "none",
      hint:
        warnings.join(" ") || (missing ? "Start the container with --gpus all, or set ENABLE_GPU=auto." : undefined),
    },
  ];
}

/** Tries what fetching does on the volume: write, link, rename. */
export async function checkVolume(config: Config): Promise<Check[]> {
  const path = config.modelCacheDir;
  const { free, size } = await diskSpace(path);
  const space: Check = {
    name: "space",
    result: free < size * 0.05 ? "warn" : "ok",
    found: `${bytes(free)} of ${bytes(size)} free at ${path}`,
    hint: "Free space or enlarge the volume; `muster list` shows what is stored.",
  };
  let trial = "";
  try {
    trial = await mkdtemp(join(path, ".muster-doctor-"));
    await writeFile(join(trial, "a"), "");
    const links = await symlink("a", join(trial, "link")).then(
      () => "symbolic links",
      () => "no symbolic links (plain files are used)",
    );
    await rename(join(trial, "a"), join(trial, "b"));
    return [{ name: "volume", result: "ok", found: `${path} can be written, has ${links}` }, space];
  } catch (error) {
    const failure = toMusterError(volumeError(error, path));
    const absent = (error as NodeJS.ErrnoException).code === "ENOENT";
    return [
      {
        name: "volume",
        result: failure.code === "VOLUME_READ_ONLY" ? "warn" : "fail",
        found: absent ? `${path} does not exist` : failure.message,
        hint: absent ? `Mount the volume there (-v /data/ai-models:${path}), or set MODEL_CACHE_DIR.` : failure.hint,
      },
      space,
    ];
  } finally {
    if (trial) await rm(trial, { recursive: true, force: true });
  }
}

export async function checkCatalog(config: Config): Promise<Check[]> {
  try {
    const catalog = await openCatalog(config);
    const found = `${config.catalogFile}: ${catalog.models.size} models, ${catalog.workerTypes.size} worker types`;
    if (config.workerType === null)
      return [
        {
          name: "catalog",
          result: "warn",
          found: `${found}; WORKER_TYPE is not set`,
          hint: `Set WORKER_TYPE to one of: ${[...catalog.workerTypes.keys()].join(", ")}.`,
        },
      ];
    findWorkerType(catalog, config.workerType);
    return [{ name: "catalog", result: "ok", found }];
  } catch (error) {
    const { message, hint } = toMusterError(error);
    return [{ name: "catalog", result: "fail", found: message, hint }];
  }
}

/** Any HTTP answer will do: what a registry has, only its models' names tell. */
export async function checkRegistries(config: Config): Promise<Check[]> {
  if (config.offline || config.ollamaStore === "server") return [];
  return Promise.all(
    config.ollamaRegistries.map(async (registry): Promise<Check> => {
      const answer = await knock(`${registry}/v2/`, {
        dispatcher: createDispatcher({ connections: 1, stallTimeoutMs: TRY_MS }),
      });
      return "error" in answer
        ? { name: "registry", result: "warn", found: answer.error.message, hint: answer.error.hint }
        : { name: "registry", result: "ok", found: `${registry} answers in ${answer.ms} ms` };
    }),
  );
}

export async function checkCoordinator(config: Config): Promise<Check[]> {
  if (!config.coordinatorUrl)
    return [
      {
        name: "coordinator",
        result: "warn",
        found: "COORDINATOR_URL is not set",
        hint: "Set it to the coordinator's ws:// or wss:// URL; without one the worker stands alone.",
      },
    ];
  // Any HTTP answer shows that the way there is open; the agent's own log tells whether the token is taken.
  const { coordinatorCertificate: files } = config;
  let own: ClientCertificate | null;
  try {
    own = files && (await readClientCertificate(files));
  } catch (error) {
    const { message, hint } = toMusterError(error);
    return [{ name: "coordinator", result: "fail", found: message, hint }];
  }
  const dispatcher = direct({ ca: config.coordinatorCa ?? undefined, ...own });
  const answer = await knock(config.coordinatorUrl.replace(/^ws/, "http"), { dispatcher });
  if ("error" in answer)
    return [
      {
        name: "coordinator",
        result: "fail",
        found: answer.error.message,
        hint: "Check COORDINATOR_URL, COORDINATOR_CA_FILE, COORDINATOR_CERT_FILE, and that the coordinator runs.",
      },
    ];
  return [{ name: "coordinator", result: "ok", found: `${config.coordinatorUrl} answers in ${answer.ms} ms` }];
}

export async function checkEngines(config: Config): Promise<Check[]> {
  const urls = Object.entries(config.engineUrls).flatMap(([kind, url]) => (url ? [{ kind, url }] : []));
  return Promise.all(
    urls.map(async ({ kind, url }): Promise<Check> => {
      const answer = await knock(url, { dispatcher: direct() });
      return "error" in answer
        ? {
            name: kind,
            result: "fail",
            found: answer.error.message,
            hint: `Check ${kind.toUpperCase()}_URL, and that the engine runs.`,
          }
        : { name: kind, result: "ok", found: `${url} answers in ${answer.ms} ms` };
    }),
  );
}

/** The way the agent takes to its coordinator and its engines: past any proxy. */
function direct(tls: { ca?: string; cert?: string; key?: string } = {}): Dispatcher {
  return new Agent({ headersTimeout: TRY_MS, bodyTimeout: TRY_MS, connect: { timeout: TRY_MS, ...tls } });
}
