import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { bareEnvironment } from "../tools/tool.ts";
import { ROOT, type Workplace } from "../workplace.ts";

export interface WorkerOptions {
  /** Where it has its folders. */
  folder: string;
  engine: string;
  coordinator: string;
  slots: number;
  /** A model to fetch from a hub while jobs run. */
  download?: { endpoint: string; repo: string };
}

export interface BenchWorker extends AsyncDisposable {
  /** Most memory it has had so far, MiB. */
  peakRssMib(): Promise<number>;
}

/** A worker of the bundle that serves the model `echo`. */
export async function startBenchWorker(place: Workplace, options: WorkerOptions): Promise<BenchWorker> {
  const { folder, engine, coordinator, slots, download } = options;
  const model = join(folder, "echo");
  await mkdir(model, { recursive: true });
  await writeFile(join(model, "config.json"), "{}");
  await writeFile(join(model, "model.safetensors"), "read by nobody here");
  const variant = { source: "path", path: model, engine: "openai", format: "safetensors" };
  const large = { source: "huggingface", repo: download?.repo, engine: "vllm" };
  const models = {
    echo: { task: "chat", variants: [variant] },
    ...(download && { large: { task: "embedding", variants: [large] } }),
  };
  const wanted = ["echo", ...(download ? [{ model: "large", optional: true }] : [])];
  const workerTypes = { bench: { gpu: "none", models: wanted, slots: { chat: slots } } };
  const catalog = join(folder, "types.json");
  await writeFile(catalog, JSON.stringify({ models, workerTypes }));
  const child = place.start([process.execPath, join(ROOT, "dist", "muster.js"), "start"], {
    env: bareEnvironment({
      ...{ WORKER_TYPE: "bench", WORKER_TYPES_FILE: catalog, OPENAI_URL: engine, COORDINATOR_URL: coordinator },
      ...{ MODEL_CACHE_DIR: join(folder, "models"), STATE_DIR: join(folder, "state"), HTTP_PORT: "0" },
      ...{ LOG_FILE: "none", ENABLE_GPU: "false", LOG_LEVEL: "warn" },
      ...(download && { HF_ENDPOINT: download.endpoint }),
    }),
  });
  return {
    async peakRssMib() {
      const status = await readFile(`/proc/${child.pid}/status`, "utf8");
      return Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024);
    },
    [Symbol.asyncDispose]: () => place.stop(child),
  };
}
