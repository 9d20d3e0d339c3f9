import type { Config } from "../../config.ts";
import type { Logger } from "../../log.ts";
import type { ModelSpec, StoredModel } from "../../model.ts";
import { settings } from "../../settings/settings.ts";
import { isStored, type StatusBoard } from "../../status.ts";
import type { EnginePlan } from "./engine-plan.ts";
import { type EngineStart, engineStart, wiredVariables } from "./engine-start.ts";
import { storedFacts } from "./stored-facts.ts";
import { supervise } from "./supervise.ts";

export interface SuperviseEngineOptions {
  config: Config;
  log: Logger;
  board: StatusBoard;
  signal: AbortSignal;
  /** When it may start. */
  when: Promise<void>;
  plan: Omit<EnginePlan, "stored">;
  storedOf: (spec: ModelSpec) => Promise<StoredModel | null>;
}

/** Supervises the engine of `muster start -- COMMAND …` from the moment the models are there; nothing for no command. */
export async function superviseEngine(command: string[], options: SuperviseEngineOptions): Promise<void> {
  const { config, log, board, signal, when, plan } = options;
  const [file, ...args] = command;
  if (file === undefined) return;
  await when;
  const env = process.env;
  const planned = async () => {
    const stored = await storedFacts(plan.models, options.storedOf);
    return engineStart([file, ...args], { ...plan, stored }, { config, env });
  };
  let told = "";
  await supervise({
    log,
    stopMs: config.drainTimeoutMs,
    signal,
    onChange: (supervised) => board.update({ supervised }),
    async start() {
      const before = await planned();
      // One that does not pull its models itself is pointed at files, which have to be there.
      if (config.ollamaStore === "volume") await untilStored(before.serves, { board, signal });
      const now = await planned();
      const derived = describe(command, now);
      if (derived !== told) for (const line of [...now.notices, derived].filter(Boolean)) log.info(line);
      told = derived;
      return { command: now.command, env: engineEnvironment(config, { ...now.variables, ...keyOf(config, now) }, env) };
    },
  });
}

/** Settles when the files of the required ones, and of the first in any case, are on the volume, or at the signal. */
function untilStored(
  specs: readonly ModelSpec[],
  { board, signal }: Pick<SuperviseEngineOptions, "board" | "signal">,
): Promise<void> {
  const awaited = specs.filter(({ required }, index) => required || index === 0);
  return new Promise((resolve) => {
    const settle = () => {
      const isThere = ({ id }: ModelSpec) =>
        board.current.models.some((model) => model.id === id && isStored(model.state));
      if (!signal.aborted && !awaited.every(isThere)) return;
      unsubscribe();
      signal.removeEventListener("abort", settle);
      resolve();
    };
    const unsubscribe = board.onChange(settle);
    signal.addEventListener("abort", settle, { once: true });
    settle();
  });
}

/** What was derived, in words for the log; without what the operator gave, which may hold a key. */
function describe(command: readonly string[], { command: full, variables }: EngineStart): string {
  const added = full.filter((word) => !command.includes(word));
  const wired = Object.keys(wiredVariables({ hfHome: "", hfHubCache: "", ollamaModels: "", vllmCache: "" }));
  const set = Object.entries(variables).filter(([name]) => !wired.includes(name));
  const parts = [...set.map(([name, value]) => `${name}=${value}`), ...added];
  return parts.length > 0 ? `Derived from the plan: ${parts.join(" ")}` : "";
}

/** vLLM asks for the key that jobs show, also where it stands in a file. */
function keyOf({ engineKeys }: Config, { serves }: EngineStart): Record<string, string> {
  return engineKeys.vllm !== null && serves.some(({ variant }) => variant.engine === "vllm")
    ? { VLLM_API_KEY: engineKeys.vllm }
    : {};
}

/**
 * The agent's credentials and the files that hold them, by their older names too (VLLM_API_KEY is vLLM's own); and the
 * older name that would lead an engine to another cache.
 */
const WITHHELD = new Set([
  ...Object.keys(settings.shape).filter((name) =>
    /(?:TOKEN|KEY|KEY_ID|PASSWORD|CREDS|CERT)(?:_FILE|_PATH)?$/.test(name),
  ),
  "HUGGING_FACE_HUB_TOKEN",
  "TRANSFORMERS_CACHE",
]);
WITHHELD.delete("VLLM_API_KEY");

/** The environment of an engine: what this process has without the agent's secrets, and what is its own. */
export function engineEnvironment(
  config: Config,
  variables: Record<string, string>,
  inherited: Record<string, string | undefined>,
): Record<string, string | undefined> {
  const kept = Object.fromEntries(Object.entries(inherited).filter(([name]) => !WITHHELD.has(name)));
  return { ...kept, ...variables, ...wiredVariables(config) };
}
