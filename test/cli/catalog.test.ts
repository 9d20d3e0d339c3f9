import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { place, runMuster } from "../e2e/muster.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const tiny = { source: "huggingface", repo: "acme/tiny", engine: "vllm", sizeBytes: 1e9 };

function withCatalog(catalog: object | string) {
  const here = place();
  const file = join(here.folder, "types.json");
  writeFileSync(file, typeof catalog === "string" ? catalog : JSON.stringify(catalog, null, 2));
  return { ...here, file, env: { ...here.env, WORKER_TYPES_FILE: file } };
}

const catalog = (variant: object) => ({
  models: { tiny: { task: "chat", variants: [variant] } },
  workerTypes: { chat: { gpu: "none", models: ["tiny"] } },
});

describe.concurrent("muster catalog check", () => {
  test("of the built-in catalog", async ({ expect }) => {
    using here = place();
    const { code, stdout } = await runMuster(["catalog", "check"], here.env);
    expect(code).toBe(0);
    expect(stdout).toContain(`${ROOT}/worker-types.json: 20 models, 8 worker types; 2 odd\n`);
    expect(stdout).toMatch(/^llm-infrastructure {2}a card of 24 GB$/m);
    expect((await runMuster(["catalog", "check", "--strict"], here.env)).code).toBe(1);
  });

  test("says where, what, and what to do", async ({ expect }) => {
    using here = withCatalog(catalog({ ...tiny, engine: "vllm", source: "ollama", name: "tiny" }));
    const { code, stdout } = await runMuster(["catalog", "check"], here.env);
    expect(code).toBe(1);
    expect(stdout).toContain(
      `fail ${here.file}:9: models.tiny.variants[0].engine: vllm does not read Ollama's store\n     → Set engine to ollama`,
    );
    const json = await runMuster(["catalog", "check", here.file, "--json"], place().env);
    expect(json.code).toBe(1);
    expect(JSON.parse(json.stdout)).toMatchObject({
      ok: false,
      files: [here.file],
      models: 1,
      findings: [{ level: "fail", line: 9, path: "models.tiny.variants[0].engine" }, { level: "warn" }],
    });
  });

  test("of what is not of the right form: every problem, and the code of configuration", async ({ expect }) => {
    using here = withCatalog({ models: { tiny: { task: "sing", variants: [] } }, workerTypes: {} });
    const { code, stderr } = await runMuster(["catalog", "check"], here.env);
    expect(code).toBe(78);
    expect(stderr).toContain(`${here.file}:4: models.tiny.task: found "sing"; allowed: one of chat`);
    expect(stderr).toContain(`${here.file}:5: models.tiny.variants: found []; allowed: at least 1 of them`);
    const gone = await runMuster(["catalog", "check", "/nowhere.json"], here.env);
    expect(gone).toMatchObject({ code: 78, stdout: "" });
    expect(gone.stderr).toContain("error CATALOG_INVALID: The catalog /nowhere.json cannot be read (ENOENT).");
  });
});

describe.concurrent("muster catalog show", () => {
  test("all of it, with the overlay", async ({ expect }) => {
    using here = withCatalog(catalog(tiny));
    const overlay = join(here.folder, "more.json");
    const more = { task: "chat", license: "mit", gated: true, variants: [{ ...tiny, sizeBytes: 20e9 }] };
    writeFileSync(overlay, JSON.stringify({ models: { more } }));
    const { code, stdout } = await runMuster(["catalog", "show"], { ...here.env, WORKER_TYPES_OVERLAY: overlay });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^tiny +chat +not said +vllm +1\.0 GB +6 GB +chat$/m);
    expect(stdout).toMatch(/^more +chat +mit, gated +vllm +20\.0 GB +32 GB +none$/m);
  });

  test("of one model and one worker type", async ({ expect }) => {
    using here = place();
    const model = await runMuster(["catalog", "show", "mistral-7b-instruct"], here.env);
    expect(model.stdout).toMatch(/^licence {7}apache-2\.0$/m);
    expect(model.stdout).toMatch(/^ {2}fp16 {5}vllm {4}safetensors {7}14\.5 GB {2}24 GB {2}needs 18\.2 GB$/m);
    const type = await runMuster(["catalog", "show", "inference-server", "--json"], here.env);
    expect(JSON.parse(type.stdout)).toMatchObject({
      workerTypes: [{ id: "inference-server", smallestMachine: { gpuMemoryGb: 24, gpuCount: 1 } }],
      models: expect.arrayContaining([
        expect.objectContaining({
          id: "llama2-70b",
          license: "llama2",
          variants: [
            expect.objectContaining({ fits: expect.objectContaining({ gpuMemoryGb: 96, gpuCount: 2, context: 4096 }) }),
            expect.objectContaining({ fits: expect.objectContaining({ gpuMemoryGb: 48, gpuCount: 1 }) }),
          ],
        }),
      ]),
    });
    const unknown = await runMuster(["catalog", "show", "nothing"], here.env);
    expect(unknown).toMatchObject({ code: 64, stdout: "" });
    expect(unknown.stderr).toContain("hint `muster catalog show` shows what it has: gpu-worker, ocr, ");
  });
});

test("muster catalog schema prints what the documents have", async () => {
  using here = place();
  const { stdout } = await runMuster(["catalog", "schema"], here.env);
  expect(stdout).toBe(readFileSync(join(ROOT, "docs/worker-types.schema.json"), "utf8"));
});
