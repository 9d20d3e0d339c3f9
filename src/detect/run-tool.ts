import { isInstalled } from "../system.ts";

export interface ToolOptions {
  timeoutMs: number;
  /** PATH for the look-up; default: that of this process. */
  path?: string;
  signal?: AbortSignal;
}

export type ToolFailure =
  | { kind: "missing" }
  | { kind: "timeout"; timeoutMs: number }
  /** exitCode is null where a signal ended it or where it could not be started; stderr then says why. */
  | { kind: "failed"; exitCode: number | null; stdout: string; stderr: string };

export type ToolResult = { ok: true; stdout: string } | { ok: false; failure: ToolFailure };

const MAX_OUTPUT_BYTES = 4 * 1024 * 1024;

/**
 * Runs a vendor tool and returns its stdout, or why there is none. Throws only the signal's reason.
 *
 * The time-out does not wait for the process to end: a tool that asks a GPU which fell off the bus sleeps in the kernel
 * where no signal reaches it, and a grandchild may keep the pipe open after its parent was killed. Such a process is
 * killed, let go of, and no longer keeps this one alive.
 */
export async function runTool(command: string, args: string[], options: ToolOptions): Promise<ToolResult> {
  const { timeoutMs, path, signal } = options;
  signal?.throwIfAborted();

  if (!(await isInstalled(command, path))) return { ok: false, failure: { kind: "missing" } };
  signal?.throwIfAborted();

  // A machine without GPUs starts without it.
  const { execa } = await import("execa");
  const child = execa(command, args, {
    reject: false,
    stdin: "ignore",
    maxBuffer: MAX_OUTPUT_BYTES,
    // It would take over the handling of signals, and with that undo that some are ignored.
    cleanup: false,
    env: { LC_ALL: "C", ...(path === undefined ? {} : { PATH: path }) },
  });
  const endWithUs = () => child.kill("SIGKILL");
  process.once("exit", endWithUs);
  const stopped = Promise.withResolvers<"timeout" | "aborted">();
  const timer = setTimeout(() => stopped.resolve("timeout"), timeoutMs);
  const onAbort = () => stopped.resolve("aborted");
  signal?.addEventListener("abort", onAbort, { once: true });

  try {
    const outcome = await Promise.race([child, stopped.promise]);
    if (typeof outcome === "string") {
      child.kill("SIGKILL");
      child.stdout.destroy();
      child.stderr.destroy();
      child.nodeChildProcess.unref();
      signal?.throwIfAborted();
      return { ok: false, failure: { kind: "timeout", timeoutMs } };
    }
    if (!outcome.failed) return { ok: true, stdout: outcome.stdout };
    if (outcome.code === "ENOENT") return { ok: false, failure: { kind: "missing" } };
    const { exitCode = null, stdout = "", stderr = "" } = outcome;
    return {
      ok: false,
      failure: { kind: "failed", exitCode, stdout, stderr: stderr || (outcome.originalMessage ?? "") },
    };
  } finally {
    process.off("exit", endWithUs);
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}
