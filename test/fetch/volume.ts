import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, onTestFinished } from "vitest";
import type { ErrorData } from "../../src/errors.ts";
import { type SyncOutcome, type SyncProgress, syncModels } from "../../src/fetch/sync-models.ts";
import type { ModelSpec, StoredModel } from "../../src/model.ts";
import type { FileSource } from "../fakes/hub/hub.ts";
import { openTransfer, type SyncInput, syncContext, type Transfer } from "./sync-context.ts";

export interface SyncRun {
  /** Of the first model. */
  outcome: SyncOutcome;
  outcomes: SyncOutcome[];
  notes: string[];
  progress: SyncProgress[];
}

/** Threads take longer to start than tests to run: those of equal settings share theirs, as models in an agent do. */
const transfers = new Map<string, Transfer>();
afterAll(async () => {
  await Promise.all([...transfers.values()].map((transfer) => transfer[Symbol.asyncDispose]()));
});

function sharedTransfer(input: SyncInput): Transfer {
  const key = `${input.connections} ${input.stallTimeoutMs}`;
  const transfer = transfers.get(key) ?? openTransfer(input);
  transfers.set(key, transfer);
  return transfer;
}

/** Fetches in this process, as an agent does. */
export async function sync(input: SyncInput, specs: ModelSpec[], signal?: AbortSignal): Promise<SyncRun> {
  const context = syncContext(input, sharedTransfer(input), signal);
  const notes: string[] = [];
  const progress: SyncProgress[] = [];
  const outcomes = await syncModels(specs, context, {
    onProgress: (step) => void progress.push(step),
    onNote: (_spec, note) => void notes.push(note),
  });
  return { outcome: outcomes[0]!, outcomes, notes, progress };
}

export interface ProcessLine {
  note?: string;
  progress?: Pick<SyncProgress, "state" | "bytesDone" | "bytesTotal">;
  outcomes?: { stored: StoredModel | null; fetchedBytes: number; error: ErrorData | null }[];
}

export interface SyncProcess {
  pid: number;
  /** What it said so far. */
  lines: ProcessLine[];
  kill(signal: NodeJS.Signals): void;
  exited: Promise<{ code: number | null; signal: string | null; stderr: string }>;
}

/** Processes that end by themselves leave here what those after them need not compile again. */
const compileCache = mkdtempSync(join(tmpdir(), "muster-test-compiled-"));
afterAll(() => rmSync(compileCache, { recursive: true, force: true }));

interface ProcessOptions {
  /** Root may ask for another user. */
  user?: [uid: number, gid: number];
  /** A shell command that goes before, such as one that sets a limit. */
  before?: string;
}

/** Fetches in a process of its own, which the test may kill. */
export function startSync(input: SyncInput, specs: ModelSpec[], options: ProcessOptions = {}): SyncProcess {
  const { user, before = ":" } = options;
  const fixture = fileURLToPath(new URL("./fixtures/sync-process.ts", import.meta.url));
  const command = [process.execPath, fixture, JSON.stringify({ input, specs, user })];
  const child = spawn("sh", ["-c", `${before}; exec "$@"`, "sh", ...command], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NODE_COMPILE_CACHE: compileCache },
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const lines: ProcessLine[] = [];
  let rest = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    const pieces = (rest + text).split("\n");
    rest = pieces.pop() ?? "";
    lines.push(...pieces.map((piece) => JSON.parse(piece) as ProcessLine));
  });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  return {
    pid: child.pid!,
    lines,
    kill: (signal) => void child.kill(signal),
    exited: once(child, "close").then(([code, signal]) => ({ code, signal, stderr })),
  };
}

/** What one process said at its end about its first model. */
export async function outcomeOf(child: SyncProcess) {
  const { code, stderr } = await child.exited;
  const outcome = child.lines.at(-1)?.outcomes?.[0];
  if (!outcome) throw new Error(`The process ended with ${code} and without an outcome: ${stderr}`);
  return outcome;
}

/** Files below a folder, relative, in order; links are followed. */
export function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true })
    .map(String)
    .filter((path) => statSync(join(folder, path)).isFile())
    .sort();
}

/** The paths of a snapshot whose content is not that of the repository, or that only one of the two has. */
export function differences(snapshot: string, expected: Record<string, FileSource>): string[] {
  const present = new Set(filesBelow(snapshot));
  const wrong = Object.entries(expected).filter(
    ([path, source]) => !present.delete(path) || !readFileSync(join(snapshot, path)).equals(bytesOf(source)),
  );
  return [...wrong.map(([path]) => path), ...present];
}

export function bytesOf(source: FileSource): Buffer {
  if (typeof source === "string") return Buffer.from(source);
  return "path" in source ? readFileSync(source.path) : Buffer.from(source);
}

/** The blobs of a cached repository whose content is not what their name says; none, at every moment. */
export function wrongBlobs(repoFolder: string): string[] {
  const folder = join(repoFolder, "blobs");
  const names = statSync(folder, { throwIfNoEntry: false }) ? readdirSync(folder) : [];
  return names.filter((name) => {
    const content = readFileSync(join(folder, name));
    const hash = name.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${content.length}\0`);
    return hash.update(content).digest("hex") !== name;
  });
}
