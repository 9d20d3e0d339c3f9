import { type FileHandle, open } from "node:fs/promises";
import { dirname } from "node:path";
import { isInstalled } from "../system.ts";
import { makeFolder } from "./make-folder.ts";

/** A process inherits the descriptors as 3, 4 and so on. 1 says that another has the lock; anything else, that there are none here. */
const TRY_ALL = 'for fd do flock -n "$fd"; [ $? -eq 1 ] && echo "$fd"; done; exit 0';
const FIRST_FD = 3;
/** To end a command with us, execa listens to signals, and where it has listened to SIGXFSZ a limit on file sizes kills. */
const QUIETLY = { reject: false, cleanup: false } as const;

/**
 * Locks of other tools that fetch the same files: flock(2), which Node cannot take. The command `flock` takes it on a
 * descriptor that it inherits; the lock belongs to the open file and is therefore ours after the command has ended, until
 * we close the file or are killed. Only bytes depend on it: where there is no such command, or no such lock on that file
 * system, nothing is held and nothing waited for.
 */
export class ToolLocks implements AsyncDisposable {
  readonly #handles: Map<string, FileHandle>;
  readonly #busy = new Set<string>();

  private constructor(handles: Map<string, FileHandle>) {
    this.#handles = handles;
  }

  /** Takes those that are free, all by one command. */
  static async take(paths: readonly string[]): Promise<ToolLocks> {
    const handles = new Map<string, FileHandle>();
    const locks = new ToolLocks(handles);
    if (paths.length === 0 || !(await isInstalled("flock"))) return locks;
    for (const path of paths) {
      const handle = await openLock(path).catch(() => null);
      if (handle) handles.set(path, handle);
    }
    const inherited = [...handles.values()].map(inherit);
    const numbers = inherited.map((_, index) => String(index + FIRST_FD));
    // Only who fetches needs it: a start with everything there does not pay for it.
    const { execa } = await import("execa");
    const { stdout } = await execa("sh", ["-c", TRY_ALL, "sh", ...numbers], {
      stdio: ["ignore", "pipe", "ignore", ...inherited],
      ...QUIETLY,
    });
    const busy = (stdout ?? "").split("\n");
    for (const [index, path] of [...handles.keys()].entries()) {
      if (busy.includes(String(index + FIRST_FD))) locks.#busy.add(path);
    }
    return locks;
  }

  /** Another has it. */
  isBusy(path: string | null): boolean {
    return path !== null && this.#busy.has(path);
  }

  /** Waits until the other lets go, and takes it; false when the time is over. Rejects with the reason of the signal. */
  async wait(path: string, { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal }): Promise<boolean> {
    const handle = this.#handles.get(path);
    if (!handle) return false;
    const { execa } = await import("execa");
    const { failed } = await execa("flock", [String(FIRST_FD)], {
      stdio: ["ignore", "ignore", "ignore", inherit(handle)],
      timeout: timeoutMs,
      cancelSignal: signal,
      ...QUIETLY,
    });
    signal?.throwIfAborted();
    return !failed;
  }

  async release(path: string): Promise<void> {
    await this.#handles.get(path)?.close();
    this.#handles.delete(path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled([...this.#handles.keys()].map((path) => this.release(path)));
  }
}

/** Stays after use, and is for the group, as other tools leave it. */
async function openLock(path: string): Promise<FileHandle> {
  await makeFolder(dirname(path));
  const handle = await open(path, "a", 0o664);
  await handle.chmod(0o664).catch(() => undefined);
  return handle;
}

/** execa hands on any descriptor, which its types do not know. */
function inherit({ fd }: FileHandle): "inherit" {
  return fd as unknown as "inherit";
}
