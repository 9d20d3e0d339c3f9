import { type ChildProcess, spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { type Hub, startHub } from "../test/fakes/hub/hub.ts";
import { causalLmRepo, ggufRepo } from "../test/fakes/tiny-models.ts";

/**
 * The main job on one machine: a coordinator, a hub, and a worker that detects, selects, fetches, registers and beats;
 * then the same worker again, which fetches nothing. With --real the hub is huggingface.co.
 */

const { values } = parseArgs({
  options: { real: { type: "boolean", default: false }, keep: { type: "boolean", default: false } },
});
const root = join(import.meta.dirname, "..");
const folder = await mkdtemp(join(tmpdir(), "muster-quickstart-"));
const volume = join(folder, "models");
const token = crypto.randomUUID();
const children = new Set<ChildProcess>();
const say = (text: string) => process.stdout.write(`\n» ${text}\n`);

process.on("SIGINT", () => process.exit(130));
process.on("SIGTERM", () => process.exit(143));
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
  if (!values.keep) rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
});

const hub = values.real ? null : await startHub();
const hubSettings = hub ? await fillHub(hub) : { WORKER_TYPE: "embedding" };

try {
  say(hub ? `A small hub with two models it made up serves on ${hub.url}` : "The hub is https://huggingface.co");
  const coordinator = run("coordinator", ["coordinator", "--listen", "127.0.0.1:0"], {});
  const [, api, url] = await coordinator.line(/listens on (\S+); workers connect with COORDINATOR_URL=(\S+),/);
  const settings = {
    ...hubSettings,
    MODEL_CACHE_DIR: volume,
    STATE_DIR: join(folder, "state"),
    COORDINATOR_URL: url ?? "",
    HTTP_PORT: "0",
  };

  say("What would run here (muster plan)");
  await run("", ["plan"], settings).ended;

  say("The worker starts: detect → select → fetch → register → serve");
  const first = run("worker", ["start"], settings);
  await first.line(/Ready: /);
  const worker = await firstWorker(api ?? "", (found) => found.ready && found.beats >= 2);
  say(
    `The coordinator lists it: ${worker.id}, type ${worker.workerType}, ready, ${worker.beats} beats; models ${worker.models.map(({ model, state }) => `${model} (${state})`).join(", ")}`,
  );
  await first.stop();

  say("The same worker again: everything is on the volume");
  const before = hub?.requests.length ?? 0;
  const second = run("worker", ["start"], settings);
  await second.line(/Ready: /);
  await second.line(/Registered with the coordinator/);
  if (hub) say(`Requests to the hub this time: ${hub.requests.length - before}`);
  await second.stop();
  await coordinator.stop();

  say("What is on the volume (muster list)");
  await run("", ["list"], settings).ended;
  say(`It works. For the real services, set:
    WORKER_TYPE=gpu-worker               which models (gpu-worker, ocr, embedding, vllm, cpu-worker, all, …)
    MODEL_CACHE_DIR=/models              the volume that all workers share
    HF_TOKEN_FILE=/run/secrets/hf_token  for gated models
    COORDINATOR_URL=wss://…              and COORDINATOR_TOKEN_FILE
  then: scripts/muster plan (what would run here), scripts/muster doctor (is everything reachable), scripts/muster start`);
} finally {
  await hub?.close();
  if (values.keep) say(`Kept: ${folder}`);
}

/** Two models as hubs have them: sharded safetensors with duplicates in other formats, and a GGUF repository. */
async function fillHub(target: Hub): Promise<Record<string, string>> {
  target.addRepo({
    id: "acme/tiny-chat",
    files: causalLmRepo("acme/tiny-chat", { shards: 2, sizeBytes: 6_000_000, withDuplicates: true }),
  });
  target.addRepo({ id: "acme/tiny-gguf", files: ggufRepo("acme/tiny-gguf", { sizeBytes: 3_000_000 }) });
  // As slow as a far hub, so that there is something to see.
  target.faults.slow = { bytesPerSecond: 700_000 };
  const variant = (repo: string, more: object) => ({ source: "huggingface", repo, ...more });
  const catalog = {
    models: {
      "tiny-chat": { task: "chat", variants: [variant("acme/tiny-chat", { engine: "vllm" })] },
      "tiny-gguf": { task: "chat", variants: [variant("acme/tiny-gguf", { engine: "ollama", format: "gguf" })] },
    },
    workerTypes: { "cpu-worker": { gpu: "none", models: ["tiny-chat", "tiny-gguf"], slots: { chat: 1 } } },
  };
  const file = join(folder, "worker-types.json");
  await writeFile(file, JSON.stringify(catalog, null, 2));
  return { WORKER_TYPE: "cpu-worker", WORKER_TYPES_FILE: file, HF_ENDPOINT: target.url };
}

/** Starts muster as a user would, its lines on the screen behind its name. */
function run(name: string, args: string[], settings: Record<string, string>) {
  const child = spawn(join(root, "scripts", "muster"), args, {
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      LOG_FILE: "none",
      COORDINATOR_TOKEN: token,
      ...proxies(),
      ...settings,
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.add(child);
  const seen: string[] = [];
  const waiting = new Set<() => void>();
  const lines = createInterface({ input: child.stdout });
  lines.on("line", (line) => {
    process.stdout.write(`${name ? `${name.padEnd(11)} | ` : "  "}${line}\n`);
    seen.push(line);
    for (const check of waiting) check();
  });
  const ended = new Promise<void>((resolve, reject) => {
    child.on("exit", (code) => {
      children.delete(child);
      if (code === 0) resolve();
      else reject(new Error(`muster ${args.join(" ")} ended with exit code ${code}`));
    });
  });
  // Who waits for a line hears of an early end there.
  ended.catch(() => undefined);
  return {
    ended,
    line(pattern: RegExp): Promise<RegExpExecArray> {
      const found = new Promise<RegExpExecArray>((resolve) => {
        const check = () => {
          const match = seen.map((line) => pattern.exec(line)).find((each) => each !== null);
          if (match) resolve(match);
        };
        waiting.add(check);
        check();
      });
      return Promise.race([
        found,
        ended.then(() => Promise.reject(new Error(`muster ${args[0]} ended before it said ${pattern}`))),
      ]);
    },
    async stop() {
      child.kill("SIGTERM");
      await ended;
    },
  };
}

function proxies(): Record<string, string | undefined> {
  const names = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "NODE_EXTRA_CA_CERTS",
  ];
  return Object.fromEntries(names.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));
}

interface ListedWorker {
  id: string;
  workerType: string;
  ready: boolean;
  beats: number;
  models: { model: string; state: string }[];
}

async function firstWorker(api: string, wanted: (worker: ListedWorker) => boolean): Promise<ListedWorker> {
  for (;;) {
    const answer = await fetch(`${api}/v1/workers`, { headers: { authorization: `Bearer ${token}` } });
    const { data } = (await answer.json()) as { data: ListedWorker[] };
    const found = data.find(wanted);
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
