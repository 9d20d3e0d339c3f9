import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export const LAUNCHER = resolve(import.meta.dirname, "../../scripts/muster");

/** An Ollama registry that has nothing: what a test does not fake is not asked of the world instead. */
const emptyRegistry = createServer((_request, response) => response.writeHead(404).end()).listen(0, "127.0.0.1");
await once(emptyRegistry, "listening");
emptyRegistry.unref();
export const EMPTY_REGISTRY = `http://127.0.0.1:${(emptyRegistry.address() as AddressInfo).port}`;

/** How long a line may keep a test waiting: this is about hangs, not about slow machines. */
const PATIENCE_MS = 45_000;

export type Env = Record<string, string | undefined>;

/** A place for one worker, with a volume and a private folder, gone when disposed; and the environment that names them. */
export interface Place extends Disposable {
  folder: string;
  volume: string;
  env: Env;
}

export function place(env: Env = {}): Place {
  const folder = mkdtempSync(join(tmpdir(), "muster-e2e-"));
  const volume = join(folder, "models");
  mkdirSync(volume);
  return {
    folder,
    volume,
    env: {
      MODEL_CACHE_DIR: volume,
      STATE_DIR: join(folder, "state"),
      HTTP_PORT: "0",
      LOG_FILE: "none",
      // Only what a test puts there is a GPU.
      ENABLE_GPU: "false",
      OLLAMA_REGISTRY: EMPTY_REGISTRY,
      ...env,
    },
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}

export interface RunOptions {
  cwd?: string;
  /** In place of scripts/muster: a link, a copy, or the launcher with something before it. */
  command?: string[];
  /** Both streams are written to the end of this file, too. */
  log?: string;
}

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** The command line as a real process that has nothing of this one's environment but PATH and HOME. */
export interface Muster extends AsyncDisposable {
  pid: number;
  /** Lines so far. */
  stdout: string[];
  stderr: string[];
  /** The first line of either stream that matches; fails when the process ends without one. */
  line(pattern: RegExp): Promise<string>;
  kill(signal: NodeJS.Signals): void;
  exited: Promise<Exit>;
}

export function startMuster(args: string[], env: Env, { cwd, command = [LAUNCHER], log }: RunOptions = {}): Muster {
  const [program = "", ...before] = command;
  const { PATH, HOME } = process.env;
  const child = spawn(program, [...before, ...args], {
    cwd: cwd ?? tmpdir(),
    env: { PATH, HOME, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  if (log) for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => appendFileSync(log, text));
  const looks = new Set<() => void>();
  const lookAgain = () => {
    for (const look of looks) look();
  };
  const out = collect(child.stdout, lookAgain);
  const err = collect(child.stderr, lookAgain);
  let ended = false;
  const exited = once(child, "close").then(([code, signal]): Exit => {
    ended = true;
    out.end();
    err.end();
    lookAgain();
    return { code, signal, stdout: out.text(), stderr: err.text() };
  });
  // A test that fails before it waits for the end has its own error to show.
  exited.catch(() => undefined);
  return {
    pid: child.pid ?? -1,
    stdout: out.lines,
    stderr: err.lines,
    exited,
    kill: (signal) => void child.kill(signal),
    async line(pattern) {
      const { promise, resolve, reject } = Promise.withResolvers<string>();
      const fail = (why: string) => reject(new Error(`${why} ${pattern}:\n${out.text()}${err.text()}`));
      const look = () => {
        const found = [...out.lines, ...err.lines].find((line) => pattern.test(line));
        if (found !== undefined) resolve(found);
        else if (ended) fail("muster ended without");
      };
      const timer = setTimeout(() => fail(`In ${PATIENCE_MS} ms there was no`), PATIENCE_MS);
      looks.add(look);
      look();
      return promise.finally(() => {
        clearTimeout(timer);
        looks.delete(look);
      });
    },
    async [Symbol.asyncDispose]() {
      if (!ended) child.kill("SIGKILL");
      await exited;
    },
  };
}

/** Runs a command to its end. */
export async function runMuster(args: string[], env: Env, options?: RunOptions): Promise<Exit> {
  await using muster = startMuster(args, env, options);
  return await muster.exited;
}

/** Where a running agent answers, from its first line. */
export async function httpOf(agent: Muster): Promise<string> {
  const line = await agent.line(/status on port \d+/);
  return `http://127.0.0.1:${/status on port (\d+)/.exec(line)?.[1]}`;
}

function collect(stream: ChildProcess["stdout"], onLines: () => void) {
  const lines: string[] = [];
  let whole = "";
  let rest = "";
  stream?.setEncoding("utf8").on("data", (text: string) => {
    whole += text;
    const pieces = (rest + text).split("\n");
    rest = pieces.pop() ?? "";
    lines.push(...pieces);
    onLines();
  });
  return {
    lines,
    text: () => whole,
    end() {
      if (rest) lines.push(rest);
    },
  };
}
