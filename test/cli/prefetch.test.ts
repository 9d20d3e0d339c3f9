import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "vitest";
import { type Env, type Place, place, runMuster } from "../e2e/muster.ts";
import { type Hub, startHub } from "../fakes/hub/hub.ts";
import { causalLmRepo } from "../fakes/tiny-models.ts";

const repo = (id: string) => ({ id, files: causalLmRepo(id) });
const on = (name: string, minGpuMemoryGb: number) => ({
  source: "huggingface",
  repo: `acme/${name}`,
  engine: "vllm",
  id: name,
  minGpuMemoryGb,
});

/** For cards of 24 GB and of 12 GB, for several of 80 GB, and for no card. */
const CATALOG = {
  models: {
    chat: { task: "chat", variants: [on("chat-large", 20), on("chat-small", 8)] },
    huge: { task: "chat", variants: [{ ...on("huge", 60), gpuCount: 2 }] },
    words: { task: "embedding", variants: [on("words", 0)] },
    gone: { task: "embedding", variants: [on("gone", 0)] },
  },
  workerTypes: {
    "gpu-worker": { gpu: "required", minGpuMemoryGb: 8, models: ["chat", { model: "words", optional: true }] },
    "big-worker": { gpu: "required", minGpuMemoryGb: 40, models: ["huge"] },
    "cpu-worker": { gpu: "none", models: ["words"] },
    odd: { gpu: "none", models: ["gone"] },
    all: { gpu: "preferred", models: ["chat", "huge", "words"] },
  },
};

function somewhere(hub: Hub, env: Env = {}): Place {
  const here = place({ HF_ENDPOINT: hub.url, ENABLE_GPU: "auto", PATH: process.env.PATH, ...env });
  const file = join(here.folder, "types.json");
  writeFileSync(file, JSON.stringify(CATALOG));
  here.env.WORKER_TYPES_FILE = file;
  return here;
}

const startRepos = (...names: string[]) => startHub({ repos: names.map((name) => repo(`acme/${name}`)) });

async function prefetch(here: Place, ...names: string[]) {
  const { code, stdout, stderr } = await runMuster(["sync", "--prefetch", ...names, "--json"], here.env);
  const { models = [] } = (stdout ? JSON.parse(stdout) : {}) as {
    models?: { variant: string; state: string; required: boolean }[];
  };
  return {
    code,
    stderr,
    stored: models.filter(({ state }) => state === "stored").map(({ variant }) => variant),
    models,
  };
}

describe.concurrent("muster sync --prefetch", () => {
  test("takes a card of 24 GB where there is none and none is named", async ({ expect }) => {
    await using hub = await startRepos("chat-large", "chat-small", "words");
    using here = somewhere(hub);
    const { code, stored, stderr } = await prefetch(here, "gpu-worker");
    expect({ code, stored }).toEqual({ code: 0, stored: ["chat-large", "words"] });
    expect(stderr).toContain("Fetching for machines with a GPU of 24 GB; PLAN_GPU_MEMORY_GB names others");
    const { stdout } = await runMuster(["sync", "--prefetch", "gpu-worker"], here.env);
    expect(stdout).toContain(", 0 B fetched now");
  });

  test("takes the cards that are named", async ({ expect }) => {
    await using hub = await startRepos("chat-large", "chat-small", "huge", "words");
    using here = somewhere(hub, { PLAN_GPU_MEMORY_GB: "12" });
    expect(await prefetch(here, "gpu-worker")).toMatchObject({ code: 0, stored: ["chat-small", "words"] });
    const two = { ...here, env: { ...here.env, PLAN_GPU_MEMORY_GB: "80, 80" } };
    expect(await prefetch(two, "big-worker")).toMatchObject({ code: 0, stored: ["huge"] });
    const { code, stderr } = await prefetch(here, "big-worker");
    expect({ code, stderr }).toEqual({ code: 78, stderr: expect.stringContaining("GPU_REQUIRED") });
  });

  test("all: every worker type that the cards can hold, each model once, none of them required", async ({ expect }) => {
    await using hub = await startRepos("chat-large", "chat-small", "huge", "words");
    using here = somewhere(hub);
    const { code, stored, models, stderr } = await prefetch(here, "all");
    // What does not exist is nobody's to try again.
    expect({ code, stored }).toEqual({ code: 0, stored: ["chat-large", "words"] });
    expect(models.map(({ required }) => required)).not.toContain(true);
    expect(stderr).toContain("Worker type big-worker is left out: A GPU is required");
  });

  test("says by its exit code that something can be had by trying again, or that nothing came", async ({ expect }) => {
    await using hub = await startRepos("chat-large", "words");
    using here = somewhere(hub, { MIN_FREE_GB: "1000000" });
    expect((await prefetch(here, "all")).code).toBe(75);
    await using empty = await startHub();
    using there = somewhere(empty);
    expect((await prefetch(there, "all")).code).toBe(78);
  });
});
