import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import type { Config } from "../../config.ts";
import { hasSystemCode, MusterError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import { fullJitter } from "../../retry.ts";

/** An engine that ran this long was well; its next failure counts as the first. */
const STEADY_MS = 60_000;
const LAST_LINES = 5;

export interface SuperviseOptions {
  command: [string, ...string[]];
  env: Record<string, string | undefined>;
  log: Logger;
  /** Time the engine gets to end after SIGTERM. */
  stopMs: number;
  signal: AbortSignal;
}

/** Runs the engine and restarts it with a growing delay until the signal; then ends it and waits for it. */
export async function supervise({ command, env, log, stopMs, signal }: SuperviseOptions): Promise<void> {
  const [file, ...args] = command;
  for (let failures = 1; !signal.aborted; failures += 1) {
    const startedAt = performance.now();
    log.info(`Starting engine ${file}`);
    const failure = await runOnce(file, args, { env, log, stopMs, signal });
    if (signal.aborted) break;
    if (performance.now() - startedAt > STEADY_MS) failures = 1;
    const delay = fullJitter(failures, 1_000, 60_000);
    log.error({ code: failure.code, hint: failure.hint }, failure.message);
    log.warn(`Starting engine ${file} again in ${(delay / 1000).toFixed(1)} s`);
    await sleep(delay, undefined, { signal }).catch(() => undefined);
  }
}

async function runOnce(file: string, args: string[], options: Omit<SuperviseOptions, "command">): Promise<MusterError> {
  const last: string[] = [];
  const engine = execa(file, args, {
    env: options.env,
    extendEnv: false,
    stdin: "ignore",
    all: true,
    buffer: false,
    reject: false,
    cancelSignal: options.signal,
    forceKillAfterDelay: options.stopMs,
    // A process group of its own, so that what an engine leaves behind can be found.
    detached: true,
    // It ends by us, below; execa would take over the handling of signals for it.
    cleanup: false,
  });
  const endGroup = () => killGroup(engine.pid);
  // Its orphans would hold its GPU memory, its port, and the pipe that is read here.
  engine.nodeChildProcess.once("exit", endGroup);
  process.once("exit", endGroup);
  const lines = createInterface({ input: engine.all });
  lines.on("line", (line) => {
    options.log.info(`[engine] ${line}`);
    last.push(line);
    if (last.length > LAST_LINES) last.shift();
  });
  const { exitCode, signal, originalMessage } = await engine;
  process.off("exit", endGroup);
  const how = exitCode !== undefined ? `exit code ${exitCode}` : (signal ?? originalMessage ?? "unknown");
  return new MusterError(
    "ENGINE_FAILED",
    `The engine ${file} ended (${how})${last.length > 0 ? `; its last words: ${last.join(" | ")}` : "."}`,
    { hint: "See its lines, tagged [engine], in the log; check the command after `--`." },
  );
}

function killGroup(leader: number | undefined): void {
  try {
    if (leader) process.kill(-leader, "SIGKILL");
  } catch (error) {
    if (!hasSystemCode(error, "ESRCH")) throw error;
  }
}

/** Supervises the engine of `muster start -- COMMAND …` from the moment the models are there; nothing for no command. */
export async function superviseEngine(
  command: string[],
  { config, log, signal, when }: { config: Config; log: Logger; signal: AbortSignal; when: Promise<void> },
): Promise<void> {
  const [file, ...args] = command;
  if (file === undefined) return;
  await when;
  await supervise({
    command: [file, ...args],
    env: engineEnvironment(config, process.env),
    log,
    stopMs: config.drainTimeoutMs,
    signal,
  });
}

/** The agent's secrets (VLLM_API_KEY is vLLM's own), by their older names too; and the older name that would lead an engine to another cache. */
const WITHHELD = [
  "HF_TOKEN",
  "HUGGING_FACE_HUB_TOKEN",
  "HF_TOKEN_FILE",
  "HF_TOKEN_PATH",
  "COORDINATOR_TOKEN",
  "COORDINATOR_TOKEN_FILE",
  "OPENAI_API_KEY",
  "OPENAI_API_KEY_FILE",
  "VLLM_API_KEY_FILE",
  "TRANSFORMERS_CACHE",
];

/** The environment of an engine: where the models are, no network for them, and none of the agent's secrets. */
export function engineEnvironment(
  config: Config,
  inherited: Record<string, string | undefined>,
): Record<string, string | undefined> {
  const kept = Object.fromEntries(Object.entries(inherited).filter(([name]) => !WITHHELD.includes(name)));
  return {
    ...kept,
    HF_HOME: config.hfHome,
    HF_HUB_CACHE: config.hfHubCache,
    HF_HUB_OFFLINE: "1",
    OLLAMA_MODELS: config.ollamaModels,
    OLLAMA_NOPRUNE: "1",
    OLLAMA_NO_CLOUD: "1",
    VLLM_CACHE_ROOT: config.vllmCache,
  };
}
