import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { ROOT } from "../workplace.ts";
import { startBenchCoordinator } from "./bench-coordinator.ts";

/**
 * What the agent adds to a job: the same engine asked directly, and through a worker over a real WebSocket, in one run.
 * `node scripts/bench/jobs/jobs.ts`; prints the figures as JSON.
 */

const ONE_BY_ONE = 500;
const PIECES = 200;
const STREAMS = 50;
const AT_ONCE = 64;
const SMALL_JOBS = 6_000;

const folder = await mkdtemp(join(tmpdir(), "muster-bench-jobs-"));
const children: ChildProcess[] = [];
try {
  process.stdout.write(`${JSON.stringify(await measureJobs(), null, 2)}\n`);
} finally {
  for (const child of children) child.kill("SIGKILL");
  await rm(folder, { recursive: true, force: true });
}

async function measureJobs() {
  const build = start([join(ROOT, "scripts", "build.ts")], {});
  await once(build, "close");
  const engine = start([join(import.meta.dirname, "engine.ts")], {});
  const [port] = await once(createInterface({ input: engine.stdout! }), "line");
  const url = `http://127.0.0.1:${port}/v1`;
  await using coordinator = await startBenchCoordinator();
  const worker = start([join(ROOT, "dist", "muster.js"), "start"], await workerEnvironment(url, coordinator.url));
  await coordinator.ready;

  const ask = async (pieces: number) => {
    const body = JSON.stringify({ ...chat(pieces), model: "echo", stream: true });
    const answer = await fetch(`${url}/chat/completions`, { method: "POST", body });
    await answer.text();
  };
  const small = { input: chat(1), stream: false };
  const long = { input: chat(PIECES), stream: true };
  await all(200, AT_ONCE, () => coordinator.run(small));
  await all(200, AT_ONCE, () => ask(1));

  const direct = await one(ONE_BY_ONE, () => ask(1));
  const through = await one(ONE_BY_ONE, () => coordinator.run(small));
  const directStream = await one(STREAMS, () => ask(PIECES));
  const throughStream = await one(STREAMS, () => coordinator.run(long));
  const startedAt = performance.now();
  await all(SMALL_JOBS, AT_ONCE, () => coordinator.run(small));
  const jobsPerSecond = SMALL_JOBS / ((performance.now() - startedAt) / 1000);
  coordinator.beats.length = 0;
  await all(1_000, AT_ONCE, () => coordinator.run(long));
  const late = coordinator.beats.map((gap) => Math.max(0, gap - 500));
  const status = await readFile(`/proc/${worker.pid}/status`, "utf8").catch(() => "");
  return {
    overheadMsPerJob: round(percentile(through, 50) - percentile(direct, 50)),
    overheadMsPerChunk: round((percentile(throughStream, 50) - percentile(directStream, 50)) / PIECES, 4),
    jobsPerSecond: Math.round(jobsPerSecond),
    beatLatenessP99Ms: round(percentile(late, 99)),
    peakRssMib: Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024),
  };
}

function chat(maxTokens: number) {
  return { messages: [{ role: "user", content: "Say something." }], max_tokens: maxTokens };
}

/** Milliseconds of each, one after the other. */
async function one(count: number, act: () => Promise<unknown>): Promise<number[]> {
  const took: number[] = [];
  for (let done = 0; done < count; done += 1) {
    const startedAt = performance.now();
    await act();
    took.push(performance.now() - startedAt);
  }
  return took;
}

async function all(count: number, atOnce: number, act: () => Promise<unknown>): Promise<void> {
  let left = count;
  const turns = Array.from({ length: atOnce }, async () => {
    for (; left > 0; ) {
      left -= 1;
      await act();
    }
  });
  await Promise.all(turns);
}

function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))] ?? 0;
}

function round(value: number, digits = 2): number {
  return Number(value.toFixed(digits));
}

function start(args: string[], env: Record<string, string>): ChildProcess {
  const child = spawn(process.execPath, args, {
    env: { PATH: process.env.PATH ?? "", ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  // Nobody reads most of what is said; a full pipe would stop who says it.
  child.stdout?.resume();
  children.push(child);
  return child;
}

async function workerEnvironment(engine: string, coordinator: string): Promise<Record<string, string>> {
  const model = join(folder, "echo");
  await mkdir(model);
  await writeFile(join(model, "config.json"), "{}");
  await writeFile(join(model, "model.safetensors"), "read by nobody here");
  const variant = { source: "path", path: model, engine: "openai", format: "safetensors" };
  const workerTypes = { bench: { gpu: "none", models: ["echo"], slots: { chat: AT_ONCE } } };
  const catalog = join(folder, "types.json");
  await writeFile(catalog, JSON.stringify({ models: { echo: { task: "chat", variants: [variant] } }, workerTypes }));
  return {
    ...{ WORKER_TYPE: "bench", WORKER_TYPES_FILE: catalog, OPENAI_URL: engine, COORDINATOR_URL: coordinator },
    ...{ MODEL_CACHE_DIR: join(folder, "models"), STATE_DIR: join(folder, "state"), HTTP_PORT: "0", LOG_FILE: "none" },
    ...{ ENABLE_GPU: "false", LOG_LEVEL: "warn" },
  };
}
