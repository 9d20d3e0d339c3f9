import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, type ExpectStatic, test } from "vitest";
import { fakeTools } from "../detect/fake-tools.ts";
import { type Env, place, runMuster, startMuster } from "../e2e/muster.ts";
import { MINILM, startMiniLmHub, startTestCoordinator, WEIGHTS } from "../e2e/services.ts";
import { startHub } from "../fakes/hub/hub.ts";
import { causalLmRepo } from "../fakes/tiny-models.ts";

async function plan(env: Env, expect: ExpectStatic, ...args: string[]) {
  const { code, stdout } = await runMuster(["plan", ...args, "--json"], env);
  expect(code).toBe(0);
  return JSON.parse(stdout);
}

async function planText(env: Env): Promise<string> {
  return (await runMuster(["plan"], env)).stdout;
}

/** An environment in which `nvidia-smi` prints a fixture, first in PATH; nothing is asked of any hub. */
async function withGpus(xml: string, list?: string) {
  const tools = await fakeTools();
  await tools.printing("nvidia-smi", {
    "'-q -x'": `nvidia-smi/${xml}`,
    ...(list && { "'-L'": `nvidia-smi/${list}` }),
  });
  const here = place({
    ENABLE_GPU: undefined,
    HF_HUB_OFFLINE: "true",
    WORKER_TYPE: "gpu-worker",
    PATH: `${tools.path}:${process.env.PATH}`,
  });
  return {
    ...here,
    async [Symbol.asyncDispose]() {
      here[Symbol.dispose]();
      await tools[Symbol.asyncDispose]();
    },
  };
}

describe.concurrent("what is there", () => {
  test("before and after a sync, without a byte of weights", async ({ expect }) => {
    await using hub = await startMiniLmHub();
    using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url });
    const before = await plan(here.env, expect);
    expect(before).toMatchObject({
      workerType: "embedding",
      hardware: {
        gpus: [],
        cpu: { model: expect.any(String), cores: expect.any(Number) },
        memory: { totalBytes: expect.any(Number), availableBytes: expect.any(Number) },
      },
      models: [
        {
          id: "all-minilm-l6-v2",
          variant: `huggingface:${MINILM}`,
          state: "missing",
          bytesTotal: expect.any(Number),
          reason: expect.stringMatching(/^needs \d/),
        },
        { id: "nomic-embed-text", required: false, state: "missing", bytesMissing: 274302450 },
      ],
      disk: { freeBytes: expect.any(Number), needBytes: expect.any(Number) },
    });
    const [model, optional] = before.models;
    expect(model.bytesMissing).toBe(model.bytesTotal);
    expect(before.disk.needBytes).toBe(model.bytesTotal + optional.bytesMissing);
    expect(before.disk.freeAfterBytes).toBe(before.disk.freeBytes - before.disk.needBytes);
    const text = await planText(here.env);
    expect(text).toMatch(
      /^Hardware\n(.+\n)+\nWorker type\n {2}embedding\n\nModels\n {2}all-minilm-l6-v2: huggingface:/,
    );
    expect(text).toMatch(/ {6}missing: 2\d\d kB, .*2\d\d kB to fetch; needs .+ on main memory\n/);
    expect(text).toContain(`Disk ${here.volume}\n  free now `);
    expect(hub.bytesServed({ file: WEIGHTS })).toBe(0);

    await runMuster(["sync"], here.env);
    const after = await plan(here.env, expect);
    expect(after.models[0]).toMatchObject({ state: "stored", bytesTotal: model.bytesTotal, bytesMissing: 0 });
    expect(after.disk.needBytes).toBe(optional.bytesMissing);
    expect(await planText(here.env)).toMatch(/ {6}stored: 2\d\d kB, .*0 B to fetch; /);
  });

  test("without a hub it goes by the catalog, and says so", async ({ expect }) => {
    using here = place({ WORKER_TYPE: "embedding", HF_HUB_OFFLINE: "1" });
    const { code, stdout, stderr } = await runMuster(["plan", "--json"], here.env);
    expect(code).toBe(0);
    expect(stderr).toMatch(
      /^\S+ WARN {2}Nothing is known beforehand of sentence-transformers\/all-MiniLM-L6-v2; going by/m,
    );
    expect(JSON.parse(stdout).models[0]).toMatchObject({ state: "missing", bytesTotal: 90868376 });
  });

  test("for types and models by name", async ({ expect }) => {
    using here = place({ HF_HUB_OFFLINE: "1" });
    expect((await plan(here.env, expect, "embedding")).workerType).toBe("embedding");
    const single = await plan(here.env, expect, "all-minilm-l6-v2");
    expect(single.models.map(({ id }: { id: string }) => id)).toEqual(["all-minilm-l6-v2"]);
    const unknown = await runMuster(["plan", "nothing-such", "--json"], here.env);
    expect(unknown).toMatchObject({ code: 64, stdout: "" });
    expect(JSON.parse(unknown.stderr).error.code).toBe("MODEL_UNKNOWN");
  });
});

describe.concurrent("GPUs", () => {
  test("a card of 24 GB", async ({ expect }) => {
    await using here = await withGpus("rtx-3090-v12.xml");
    const { hardware, models, workerType, refused } = await plan(here.env, expect);
    expect(workerType).toBe("gpu-worker");
    expect(hardware.gpus).toEqual([
      {
        index: 0,
        name: "NVIDIA GeForce RTX 3090",
        uuid: expect.stringMatching(/^GPU-[0-9a-f-]{36}$/),
        vendor: "nvidia",
        memoryTotalMiB: 24576,
        memoryFreeMiB: expect.any(Number),
        mig: false,
        unified: false,
        computeCapability: expect.anything(),
      },
    ]);
    expect(models).toContainEqual(
      expect.objectContaining({
        id: "mistral-7b-instruct",
        variant: "fp16",
        location: "mistralai/Mistral-7B-Instruct-v0.2",
        bytesMissing: 14483498224,
        gpus: [0],
        reason: expect.stringMatching(/^needs 17\.0 GiB of 21\.6 GiB on GPU 0/),
      }),
    );
    expect(refused).toContainEqual(
      expect.objectContaining({
        model: "llava-next-34b",
        needBytes: expect.any(Number),
        haveBytes: expect.any(Number),
      }),
    );
    const text = await planText(here.env);
    expect(text).toContain("  GPU 0  NVIDIA GeForce RTX 3090, 24.0 GiB of memory, ");
    expect(text).toMatch(/\nNot taken\n(.*\n)* {2}llava-next-34b as ollama:\S+: needs 20\.\d GiB/);
  });

  test("a MIG board is its MIG devices; none is enough, and the fallback is said aloud", async ({ expect }) => {
    await using here = await withGpus("a100-mig.xml", "a100-mig.list.txt");
    const { hardware, workerType, notices } = await plan(here.env, expect);
    expect(hardware.gpus).toHaveLength(7);
    for (const gpu of hardware.gpus) expect(gpu).toMatchObject({ index: 0, memoryTotalMiB: 4864, mig: true });
    expect(new Set(hardware.gpus.map(({ uuid }: { uuid: string }) => uuid)).size).toBe(7);
    expect(workerType).toBe("cpu-worker");
    const notice =
      "Worker type gpu-worker cannot run here (the largest GPU has 5.1 GB, 8 GB are the least); falling back to cpu-worker";
    expect(notices).toEqual([notice]);
    expect(await planText(here.env)).toContain(`Worker type\n  cpu-worker\n  ${notice}\n`);
  });

  test("a card that is too small where one is insisted on", async ({ expect }) => {
    await using here = await withGpus("quadro-p400.xml");
    const env = { ...here.env, ENABLE_GPU: "true" };
    for (const command of ["plan", "sync", "start"]) {
      const { code, stdout, stderr } = await runMuster([command], env);
      expect(code).toBe(78);
      expect(stdout + stderr).toMatch(
        /A GPU is required and none can be used: the largest GPU has 2\.\d GB, 8 GB are the/,
      );
    }
    const { code, stdout, stderr } = await runMuster(["plan", "--json"], env);
    expect({ code, stdout }).toEqual({ code: 78, stdout: "" });
    expect(JSON.parse(stderr.trimEnd().split("\n").at(-1)!).error).toMatchObject({
      code: "GPU_REQUIRED",
      hint: expect.stringContaining("--gpus all"),
    });
  });

  test("none at all, insisted on and not", async ({ expect }) => {
    await using here = await withGpus("no-devices.xml");
    // Whatever else this machine has is too small as well.
    const env = { ...here.env, MIN_GPU_MEMORY_GB: "100000" };
    const refused = await runMuster(["plan"], { ...env, ENABLE_GPU: "true" });
    expect(refused.code).toBe(78);
    expect(refused.stderr).toContain("error GPU_REQUIRED: A GPU is required and none can be used: ");
    const { workerType, notices } = await plan(env, expect);
    expect(workerType).toBe("cpu-worker");
    expect(notices).toEqual([
      expect.stringMatching(/^Worker type gpu-worker cannot run here .*falling back to cpu-worker$/),
    ]);
    const { code, stdout } = await runMuster(["sync"], env);
    expect(code).toBe(78);
    expect(stdout).toMatch(/WARN {2}Worker type gpu-worker cannot run here .*falling back to cpu-worker/);
  });
});

/** The shape that other tools write: only what is mandatory. */
const SMALL_CATALOG = {
  models: {
    tiny: { task: "chat", variants: [{ source: "huggingface", repo: "acme/tiny", engine: "vllm" }] },
    seer: {
      task: "vision",
      variants: [{ source: "ollama", name: "llava:7b", engine: "ollama", minGpuMemoryGb: 6 }],
    },
  },
  workerTypes: {
    "gpu-worker": {
      gpu: "required",
      minGpuMemoryGb: 8,
      models: ["tiny", { model: "seer", optional: true, when: { minGpuMemoryGb: 24 } }],
      fallback: "cpu-worker",
    },
    "cpu-worker": { gpu: "none", models: ["tiny"] },
  },
};

describe.concurrent("a catalog of one's own", () => {
  test("plan, sync and start on its smallest form", async ({ expect }) => {
    await using hub = await startHub({ repos: [{ id: "acme/tiny", files: causalLmRepo("acme/tiny") }] });
    await using coordinator = await startTestCoordinator();
    using here = place({ WORKER_TYPE: "gpu-worker", HF_ENDPOINT: hub.url, ...coordinator.env });
    const file = join(here.folder, "my types.json");
    writeFileSync(file, JSON.stringify(SMALL_CATALOG));
    const byPath = await plan({ ...here.env, WORKER_TYPES_FILE: file }, expect);
    const byUrl = await plan({ ...here.env, WORKER_TYPES_FILE: pathToFileURL(file).href }, expect);
    expect(byUrl.models).toEqual(byPath.models);
    expect(byPath).toMatchObject({
      workerType: "cpu-worker",
      notices: ["Worker type gpu-worker cannot run here (ENABLE_GPU is false); falling back to cpu-worker"],
      models: [{ id: "tiny", variant: "huggingface:acme/tiny", state: "missing", required: true }],
    });
    const env = { ...here.env, WORKER_TYPES_FILE: pathToFileURL(file).href };
    const synced = await runMuster(["sync", "--json"], env);
    expect(synced.code).toBe(0);
    expect(JSON.parse(synced.stdout).models).toMatchObject([
      { id: "tiny", state: "stored", bytesFetched: byPath.disk.needBytes, bytesTotal: byPath.disk.needBytes },
    ]);
    await using agent = startMuster(["start"], env);
    const worker = await coordinator.worker("it is ready", ({ ready }) => ready);
    expect(worker).toMatchObject({ workerType: "cpu-worker", models: [{ model: "tiny", state: "stored" }] });
    await agent.line(
      /WARN {2}Worker type gpu-worker cannot run here \(ENABLE_GPU is false\); falling back to cpu-worker/,
    );
  });

  test("on a card of 24 GB it takes the optional model too", async ({ expect }) => {
    await using hub = await startHub({ repos: [{ id: "acme/tiny", files: causalLmRepo("acme/tiny") }] });
    await using here = await withGpus("rtx-3090-v12.xml");
    const file = join(here.folder, "types.json");
    writeFileSync(file, JSON.stringify(SMALL_CATALOG));
    const env = { ...here.env, HF_HUB_OFFLINE: undefined, HF_ENDPOINT: hub.url, WORKER_TYPES_FILE: file };
    const { workerType, models } = await plan(env, expect);
    expect(workerType).toBe("gpu-worker");
    expect(models.map(({ id, variant }: { id: string; variant: string }) => [id, variant])).toEqual([
      ["tiny", "huggingface:acme/tiny"],
      ["seer", "ollama:llava:7b"],
    ]);
  });
});
