import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";
import { repoOf } from "../hub/site.ts";
import { ROOT, type Workplace } from "../workplace.ts";
import { bareEnvironment, type Command, type Task, type Tool, urlOf } from "./tool.ts";

/** `muster sync` of the bundle, with its settings as they come: verified, and synced to the disk. */
export const muster: Tool = {
  name: "muster",
  needs: [],
  fetches: true,
  command: (task) => musterCommand(task, "sync"),
};

/** A command of the bundle for a worker whose one model is the set. */
export async function musterCommand(task: Task, ...args: string[]): Promise<Command> {
  const catalog = join(task.scratch, `${task.set.name}-types.json`);
  const variant = { source: "huggingface", repo: repoOf(task.set).id, engine: "vllm" };
  await writeFile(
    catalog,
    JSON.stringify({
      models: { bench: { task: "embedding", variants: [variant] } },
      workerTypes: { bench: { gpu: "none", models: ["bench"] } },
    }),
  );
  return {
    argv: [process.execPath, join(ROOT, "dist", "muster.js"), ...args],
    env: bareEnvironment({
      WORKER_TYPE: "bench",
      WORKER_TYPES_FILE: catalog,
      HF_ENDPOINT: task.endpoint,
      MODEL_CACHE_DIR: join(task.folder, "volume"),
      STATE_DIR: join(task.folder, "state"),
      LOG_FILE: "none",
      ...(task.authority && { NODE_EXTRA_CA_CERTS: task.authority }),
    }),
  };
}

/** The transfer engine of muster alone, which can be told to verify nothing. No setting of muster does that. */
export const musterUnverified: Tool = {
  name: "muster, hashing off",
  needs: [],
  fetches: true,
  command(task) {
    const { path, size, sha256 } = task.set.files[0]!;
    const args = [urlOf(task, path), task.folder, String(size), sha256];
    return {
      argv: [process.execPath, join(task.scratch, "unverified", "fetch-unverified.js"), ...args],
      env: bareEnvironment(),
    };
  },
};

/** How long the runtime takes to start and end: part of everything muster does. */
export const nodeNothing: Tool = {
  name: "node -e 0",
  needs: [],
  fetches: false,
  command: () => ({ argv: [process.execPath, "-e", "0"], env: bareEnvironment() }),
};

/** Bundles muster, and the unverified fetch in the same way, so that neither pays for types at its start. */
export async function buildMuster(place: Workplace, scratch: string): Promise<void> {
  await place.run([process.execPath, join(ROOT, "scripts", "build.ts")]);
  await mkdir(scratch, { recursive: true });
  await build({
    absWorkingDir: ROOT,
    entryPoints: { "fetch-unverified": "scripts/bench/fetch-unverified.ts", lane: "src/fetch/transfer/lane.ts" },
    outdir: join(scratch, "unverified"),
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node24.12",
    banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
    logLevel: "warning",
  });
  await writeFile(join(scratch, "package.json"), '{"type":"module"}');
}
