import type { Config } from "../../config.ts";
import type { ModelSpec } from "../../model.ts";
import type { EngineUrls } from "../../settings/engine.ts";
import { type EnginePlan, settingVariables, visibleGpus } from "./engine-plan.ts";
import { isOllamaCommand, readArguments, readVllmCommand } from "./given-arguments.ts";
import { ollamaVariables } from "./ollama-environment.ts";
import { vllmStart } from "./vllm-command.ts";

type Env = Record<string, string | undefined>;

/** The command line of an engine and what its environment has beside that of this process. */
export interface EngineStart {
  command: [string, ...string[]];
  variables: Record<string, string>;
  /** The models that it serves, as far as the command tells. */
  serves: ModelSpec[];
  notices: string[];
}

/**
 * How the command behind `muster start --` is started for this plan. First comes what the operator gave, as an argument or in
 * `env`, then the worker type's engineSettings, then what is derived. Only where models and caches are, and which GPUs are
 * the engine's, is not his to say here.
 */
export function engineStart(
  command: [string, ...string[]],
  plan: EnginePlan,
  { config, env }: { config: Config; env: Env },
): EngineStart {
  const vllm = vllmStart(command, plan);
  const ollama = vllm || !isOllamaCommand(command) ? null : ollamaVariables(plan);
  const serves = vllm?.serves ?? ollama?.serves ?? [];
  const wanted = { ...ollama?.variables, ...settingVariables(plan) };
  const own = Object.entries(wanted).filter(([name]) => !env[name]);
  return {
    command: vllm?.command ?? command,
    variables: { ...Object.fromEntries(own), ...visibleGpus(serves, plan.hardware), ...wiredVariables(config) },
    serves,
    notices: vllm?.notices ?? [],
  };
}

/** Where the models and caches are, and no network for them. */
export function wiredVariables(
  config: Pick<Config, "hfHome" | "hfHubCache" | "ollamaModels" | "vllmCache">,
): Record<string, string> {
  return {
    HF_HOME: config.hfHome,
    HF_HUB_CACHE: config.hfHubCache,
    HF_HUB_OFFLINE: "1",
    OLLAMA_MODELS: config.ollamaModels,
    OLLAMA_NOPRUNE: "1",
    OLLAMA_NO_CLOUD: "1",
    VLLM_CACHE_ROOT: config.vllmCache,
  };
}

const VLLM_PORT = "8000";
const OLLAMA_PORT = "11434";

/** The engines of the configuration, and the one that muster starts itself, which need not be named there. */
export function withSupervised(urls: EngineUrls, command: readonly string[], env: Env): EngineUrls {
  const vllm = readVllmCommand(command);
  if (vllm && urls.vllm === null) {
    const given = readArguments(vllm.args);
    return { ...urls, vllm: urlOf(given.valueOf("host"), given.valueOf("port") ?? VLLM_PORT) };
  }
  if (isOllamaCommand(command) && urls.ollama === null) {
    const [, host = null, port = OLLAMA_PORT] =
      /^(?:http:\/\/)?(\[[^\]]+\]|[^:/]*)(?::(\d+))?/.exec(env.OLLAMA_HOST?.trim() ?? "") ?? [];
    return { ...urls, ollama: urlOf(host, port) };
  }
  return urls;
}

/** Who listens on all addresses is reached on this machine's own. */
function urlOf(given: string | null, port: string): string {
  const host = given?.replace(/^\[|\]$/g, "") ?? "";
  const name = host === "" || host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
  return `http://${name.includes(":") ? `[${name}]` : name}:${port}`;
}
