import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const ROOT = join(import.meta.dirname, "..", "..");

const PATIENCE_MS = 3000;

/** A temporary folder and the processes of the bench: all gone when it is disposed of, also after a signal. */
export interface Workplace extends AsyncDisposable {
  readonly folder: string;
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
  /** Starts a process in a group of its own, so that its children can be ended with it. */
  start(argv: string[], options?: SpawnOptions): ChildProcess;
  /** Ends a process and its group. */
  stop(child: ChildProcess): Promise<void>;
  /** Runs a command to its end; throws with what it wrote to standard error where it fails. Gives standard output. */
  run(argv: string[], options?: SpawnOptions): Promise<string>;
}

export async function openWorkplace(): Promise<Workplace> {
  const folder = await mkdtemp(join(tmpdir(), "muster-bench-"));
  const interrupted = new AbortController();
  const running = new Set<ChildProcess>();
  const endAll = () => {
    for (const child of running) endGroup(child);
  };
  const onSignal = (signal: NodeJS.Signals) => {
    interrupted.abort(new Error(`ended by ${signal}`));
    endAll();
  };
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);

  const place: Workplace = {
    folder,
    signal: interrupted.signal,
    start(argv, options = {}) {
      interrupted.signal.throwIfAborted();
      const child = spawn(argv[0]!, argv.slice(1), {
        stdio: ["ignore", "ignore", "inherit"],
        ...options,
        detached: true,
      });
      running.add(child);
      child.once("exit", () => running.delete(child)).once("error", () => running.delete(child));
      return child;
    },
    async stop(child) {
      if (!running.has(child)) return;
      const ended = once(child, "exit");
      endGroup(child);
      await ended;
    },
    async run(argv, options = {}) {
      const child = place.start(argv, { stdio: ["ignore", "pipe", "pipe"], ...options });
      let [stdout, stderr] = ["", ""];
      child.stdout?.on("data", (chunk) => {
        stdout += chunk;
      });
      child.stderr?.on("data", (chunk) => {
        stderr = (stderr + chunk).slice(-4000);
      });
      const [code, signal] = await once(child, "close");
      interrupted.signal.throwIfAborted();
      if (code !== 0) throw new Error(`${argv.join(" ")} ended with ${code ?? signal}\n${stderr}`);
      return stdout;
    },
    async [Symbol.asyncDispose]() {
      process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
      const ends = [...running].map((child) => once(child, "exit"));
      endAll();
      await Promise.all(ends);
      await rm(folder, { recursive: true, force: true, maxRetries: 3 });
    },
  };
  return place;
}

/** Asked to end, so that nginx takes its worker along, and made to where that takes long. */
function endGroup(child: ChildProcess): void {
  const { pid } = child;
  if (pid === undefined) return;
  const send = (signal: NodeJS.Signals) => {
    try {
      process.kill(-pid, signal);
    } catch {
      // Ended by itself a moment ago.
    }
  };
  send("SIGTERM");
  const timer = setTimeout(() => send("SIGKILL"), PATIENCE_MS);
  child.once("exit", () => clearTimeout(timer));
}
