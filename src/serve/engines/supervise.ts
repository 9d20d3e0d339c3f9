import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { type ErrorData, hasSystemCode, MusterError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import { fullJitter } from "../../retry.ts";
import type { SupervisedStatus } from "../../status.ts";

/** An engine that ran this long was well; its next failure counts as the first. */
const STEADY_MS = 60_000;
const LAST_LINES = 5;

export interface SuperviseOptions {
  /** How it is started, asked before every start: what it is pointed at may have moved. */
  start: () => Promise<{ command: [string, ...string[]]; env: Record<string, string | undefined> }>;
  log: Logger;
  /** Told at each start and each end. */
  onChange?: (status: SupervisedStatus) => void;
  /** Time the engine gets to end after SIGTERM. */
  stopMs: number;
  signal: AbortSignal;
}

/** Runs the engine and restarts it with a growing delay until the signal; then ends it and waits for it. */
export async function supervise(options: SuperviseOptions): Promise<void> {
  const { start, log, onChange, signal } = options;
  let starts = 0;
  let lastError: ErrorData | null = null;
  for (let failures = 1; !signal.aborted; failures += 1) {
    const startedAt = performance.now();
    const { command, env } = await start();
    if (signal.aborted) break;
    const [file, ...args] = command;
    log.info(`Starting engine ${file}`);
    starts += 1;
    onChange?.({ program: file, starts, running: true, error: lastError });
    const failure = await runOnce(file, args, { ...options, env });
    if (signal.aborted) break;
    lastError = failure.toJSON();
    onChange?.({ program: file, starts, running: false, error: lastError });
    if (performance.now() - startedAt > STEADY_MS) failures = 1;
    const delay = fullJitter(failures, 1_000, 60_000);
    log.error({ code: failure.code, hint: failure.hint }, failure.message);
    log.warn(`Starting engine ${file} again in ${(delay / 1000).toFixed(1)} s`);
    await sleep(delay, undefined, { signal }).catch(() => undefined);
  }
}

type RunOptions = Omit<SuperviseOptions, "start"> & { env: Record<string, string | undefined> };

async function runOnce(file: string, args: string[], options: RunOptions): Promise<MusterError> {
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
