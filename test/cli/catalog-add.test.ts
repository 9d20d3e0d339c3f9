import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { type Env, place, runMuster } from "../e2e/muster.ts";
import { AS_SOMEBODY, canBeSomebody } from "../e2e/somebody.ts";
import { startHub } from "../fakes/hub/hub.ts";
import { startOllamaRegistry } from "../fakes/ollama-registry.ts";
import { causalLmRepo, ggufRepo, llamaGguf, sentenceTransformerRepo } from "../fakes/tiny-models.ts";
import { bindMount } from "../store/mount.ts";

const README = "---\nlicense: llama3.1 # as it was\npipeline_tag: text-generation\n---\n# Tiny\n";

/** A hub with a model of every kind, a registry, a bucket's like of a folder, and a catalog to add them to. */
async function withSources(env: Env = {}) {
  const hub = await startHub({
    repos: [
      { id: "acme/Tiny-Chat", files: causalLmRepo("acme/Tiny-Chat"), license: "apache-2.0" },
      { id: "acme/embed", files: sentenceTransformerRepo("acme/embed"), pipelineTag: "sentence-similarity" },
      { id: "acme/gguf", files: ggufRepo("acme/gguf"), license: "mit" },
      { id: "acme/gated", files: causalLmRepo("acme/gated"), gated: "manual", license: "gemma" },
      { id: "acme/pickle", files: { "config.json": "{}", "pytorch_model.bin": "x".repeat(5000) } },
      { id: "acme/card", files: { ...causalLmRepo("acme/card"), "README.md": README } },
    ],
  });
  const registry = await startOllamaRegistry();
  const license =
    "                                 Apache License\n                           Version 2.0, January 2004\n";
  registry.addModel("library/tiny:1b", {
    layers: { model: llamaGguf({ type: "Q4_0", sizeBytes: 65536, seed: 1 }), license },
    config: { file_type: "Q4_0", model_family: "llama" },
  });
  const here = place({ HF_ENDPOINT: hub.url, OLLAMA_REGISTRY: registry.url, ...env });
  const file = join(here.folder, "types.json");
  const text = `${JSON.stringify(
    {
      models: { first: { task: "chat", variants: [{ source: "huggingface", repo: "acme/first", engine: "vllm" }] } },
      workerTypes: { chat: { gpu: "none", models: ["first"] } },
    },
    null,
    4,
  )}\n`;
  writeFileSync(file, text);
  here.env.WORKER_TYPES_FILE = file;
  onTestFinished(async () => {
    here[Symbol.dispose]();
    await Promise.all([hub.close(), registry[Symbol.asyncDispose]()]);
  });
  const add = async (...args: string[]) => {
    const { code, stdout, stderr } = await runMuster(["catalog", "add", ...args, "--json"], here.env);
    if (code !== 0) return { error: JSON.parse(stderr).error, code };
    return JSON.parse(stdout) as { file: string; written: boolean; models: Record<string, unknown>[] };
  };
  return { ...here, hub, file, text, add, read: () => JSON.parse(readFileSync(file, "utf8")) };
}

describe("muster catalog add", () => {
  test("prints the entry of a model of the hub, which is a file by itself, and says how it was found out", async () => {
    const { env, file, text, hub } = await withSources();
    const { code, stdout, stderr } = await runMuster(["catalog", "add", "hf:acme/Tiny-Chat"], env);
    expect(code).toBe(0);
    const printed = JSON.parse(stdout);
    expect(printed).toEqual({
      models: {
        "tiny-chat": {
          task: "chat",
          license: "apache-2.0",
          contextLength: expect.any(Number),
          variants: [
            {
              source: "huggingface",
              repo: "acme/Tiny-Chat",
              engine: "vllm",
              minGpuMemoryGb: 2,
              architecture: expect.objectContaining({ kvHeads: expect.any(Number), headDim: expect.any(Number) }),
              sizeBytes: expect.any(Number),
            },
          ],
        },
      },
    });
    expect(stderr).toMatch(/^model {10}tiny-chat: hf:acme\/Tiny-Chat at [0-9a-f]{12}$/m);
    expect(stderr).toMatch(/^size {11}.* in \d+ files$/m);
    expect(stderr).toMatch(/^needs {10}2\.\d GiB with \d+ tokens$/m);
    expect(stderr).toMatch(/^smallest card {2}4 GB$/m);
    expect(stderr).toContain(`Nothing is written; --write adds tiny-chat to ${file}\n`);
    expect(readFileSync(file, "utf8")).toBe(text);
    // Neither weights nor anything on the volume.
    expect(hub.bytesServed({ host: "cdn" })).toBe(0);
    expect(readdirSync(env.MODEL_CACHE_DIR!)).toEqual([]);
    // An overlay, as it stands there.
    const overlay = join(file, "..", "overlay.json");
    writeFileSync(overlay, stdout);
    const check = await runMuster(["catalog", "check"], { ...env, WORKER_TYPES_OVERLAY: overlay });
    expect(check.stdout).toContain("2 models, 1 worker types");
  });

  test("knows embeddings, GGUF, Ollama's models, folders and cards", async () => {
    const { add, hub, folder } = await withSources();
    expect(await add("hf:acme/embed")).toMatchObject({
      models: [
        { id: "embed", entry: { task: "embedding", variants: [{ engine: "openai" }] }, fits: { context: null } },
      ],
    });
    expect(await add("hf:acme/gguf", "--quantization", "q8_0")).toMatchObject({
      models: [
        {
          license: "mit",
          entry: { variants: [{ format: "gguf", quantization: "q8_0", architecture: { heads: expect.any(Number) } }] },
        },
      ],
    });
    expect(await add("ollama:tiny:1b", "--as", "small")).toMatchObject({
      models: [
        {
          id: "small",
          license: "apache-2.0",
          entry: {
            task: "chat",
            variants: [{ source: "ollama", name: "tiny:1b", engine: "ollama", quantization: "q4_0" }],
          },
        },
      ],
    });
    const copy = join(folder, "tiny-folder");
    mkdirSync(copy);
    for (const [name, content] of Object.entries(causalLmRepo("acme/tiny")))
      writeFileSync(join(copy, name), content as string);
    writeFileSync(join(copy, "README.md"), "---\nlicense:\n- mit\n- 'CC-BY-4.0'\n---\n");
    expect(await add(copy)).toMatchObject({
      models: [
        { id: "tiny-folder", license: "mit AND cc-by-4.0", entry: { variants: [{ source: "path", path: copy }] } },
      ],
    });
    const { commit } = hub.updateRepo("acme/card", { "more.txt": "x" });
    expect(await add(`hf:acme/card@${commit}`)).toMatchObject({
      models: [{ license: "llama3.1", entry: { variants: [{ revision: commit }] } }],
    });
    expect(await add("hf:acme/card", "--pin")).toMatchObject({
      models: [{ entry: { variants: [{ revision: commit }] } }],
    });
  });

  test("says why something is not known", async () => {
    const { add } = await withSources();
    const gated = await add("hf:acme/gated");
    expect(gated).toMatchObject({
      models: [
        { license: "gemma", gated: true, entry: { gated: true, variants: [{ sizeBytes: expect.any(Number) }] } },
      ],
    });
    expect(JSON.stringify(gated)).toContain("is gated");
    expect(JSON.stringify(gated)).toContain("Its shape is not known");
    expect(JSON.stringify(await add("hf:acme/embed"))).toContain("Nothing says its licence");
    expect(await add("hf:acme/pickle")).toMatchObject({ code: 78, error: { code: "PICKLE_REFUSED" } });
    const trusted = await add("hf:acme/pickle", "--allow-pickle", "--pin");
    expect(trusted).toMatchObject({ models: [{ entry: { variants: [{ format: "pickle", allowPickle: true }] } }] });
    expect(await add("hf:acme/none")).toMatchObject({ code: 78, error: { code: "REPO_NOT_FOUND" } });
    expect(await add("acme/tiny")).toMatchObject({
      code: 64,
      error: { hint: expect.stringContaining("Did you mean hf:acme/tiny? ") },
    });
  });

  test("writes it into the file, and leaves all else there as it is", async () => {
    const { env, file, text, add, read } = await withSources();
    chmodSync(file, 0o640);
    const added = await add(
      "hf:acme/Tiny-Chat",
      "ollama:tiny:1b",
      "--as",
      "one",
      "--type",
      "chat",
      "--optional",
      "--write",
    );
    expect(added).toMatchObject({ written: true, file });
    const { models, workerTypes } = read();
    expect(Object.keys(models)).toEqual(["first", "one", "tiny-1b"]);
    expect(workerTypes.chat.models).toEqual([
      "first",
      { model: "one", optional: true },
      { model: "tiny-1b", optional: true },
    ]);
    expect(readFileSync(file, "utf8")).toContain('\n        "one": {\n            "task": "chat",\n');
    expect(await add("hf:acme/embed", "--as", "one", "--write")).toMatchObject({
      code: 64,
      error: { message: 'There is a model "one" in the catalog already.' },
    });
    expect((await runMuster(["plan", "tiny-1b"], env)).code).toBe(0);
    for (const id of ["one", "tiny-1b"])
      expect((await runMuster(["catalog", "remove", id, "--yes"], env)).code).toBe(0);
    expect(readFileSync(file, "utf8")).toBe(text);
    expect(readdirSync(join(file, "..")).filter((name) => name.includes("types.json"))).toEqual(["types.json"]);
  });

  test("writes into the overlay where there is one, worker types and all, through a link", async () => {
    const { env, file, text, folder } = await withSources();
    const overlay = join(folder, "overlay.json");
    mkdirSync(join(folder, "real"));
    writeFileSync(join(folder, "real/overlay.json"), "{}\n");
    symlinkSync("real/overlay.json", overlay);
    const own = { ...env, WORKER_TYPES_OVERLAY: overlay };
    const add = await runMuster(["catalog", "add", "hf:acme/embed", "--type", "chat", "--write"], own);
    expect(add.code).toBe(0);
    expect(add.stderr).toContain(`Added embed to ${overlay}, for chat; `);
    expect(readFileSync(file, "utf8")).toBe(text);
    expect(JSON.parse(readFileSync(join(folder, "real/overlay.json"), "utf8"))).toMatchObject({
      models: { embed: { task: "embedding" } },
      workerTypes: { chat: { gpu: "none", models: ["first", "embed"] } },
    });
    const removed = await runMuster(["catalog", "remove", "embed", "--dry-run"], own);
    expect(removed.stdout).toBe(`Would take embed out of ${overlay}, chat\n`);
  });

  test("two at once both end up there", async () => {
    const { env, read } = await withSources();
    const names = ["a", "b", "c"];
    const ends = await Promise.all(
      names.map((as) => runMuster(["catalog", "add", "hf:acme/Tiny-Chat", "--as", as, "--write"], env)),
    );
    expect(ends.map(({ code }) => code)).toEqual([0, 0, 0]);
    expect(Object.keys(read().models).toSorted()).toEqual(["a", "b", "c", "first"]);
  });

  test("refuses what cannot be written, with what to do", async () => {
    const { env, hub } = await withSources();
    const { WORKER_TYPES_FILE: _, ...builtIn } = env;
    hub.reset();
    const refused = await runMuster(["catalog", "add", "hf:acme/embed", "--write"], builtIn);
    expect(refused).toMatchObject({ code: 78, stdout: "" });
    expect(refused.stderr).toMatch(/error CATALOG_READ_ONLY: .* comes with muster, .*\nhint Begin an overlay, `echo/);
    expect(hub.requests).toEqual([]);
    expect((await runMuster(["catalog", "add", "hf:acme/embed"], builtIn)).code).toBe(0);
    const unknown = await runMuster(["catalog", "add", "hf:acme/embed", "--type", "none", "--write"], env);
    expect(unknown).toMatchObject({ code: 64, stdout: "" });
    expect(unknown.stderr).toMatch(/^error USAGE: --type is "none", which .*\nhint Give --type one of: chat/m);
  });

  test.skipIf(!canBeSomebody)("refuses a file that may not be written", async () => {
    const { env, folder, file, text } = await withSources();
    chmodSync(folder, 0o755);
    const { code, stderr } = await runMuster(["catalog", "add", "hf:acme/embed", "--write"], env, {
      command: AS_SOMEBODY,
    });
    expect(code).toBe(78);
    expect(stderr).toContain(
      `error CATALOG_READ_ONLY: ${file} cannot be changed: it, or its folder, may not be written.`,
    );
    expect(readFileSync(file, "utf8")).toBe(text);
  });

  test("refuses a file that is mounted by itself", async ({ skip }) => {
    const { env, folder, file, text } = await withSources();
    const source = join(folder, "elsewhere.json");
    writeFileSync(source, text);
    bindMount(source, skip, file);
    const { code, stderr } = await runMuster(["catalog", "add", "hf:acme/embed", "--write"], env);
    expect(code).toBe(78);
    expect(stderr).toContain(`error CATALOG_READ_ONLY: ${file} is a mount of a single file, which cannot be replaced.`);
    expect(readFileSync(source, "utf8")).toBe(text);
  });
});

describe("muster catalog remove", () => {
  test("asks where it can, and refuses what would leave a worker type with nothing", async () => {
    const { env, file, text } = await withSources();
    const run = (...args: string[]) => runMuster(["catalog", "remove", ...args], env);
    expect((await run("first", "--yes")).stderr).toContain(
      "error USAGE: first is the only model of worker type chat, which has to have one.",
    );
    expect((await run("none", "--yes")).stderr).toContain('error MODEL_UNKNOWN: The catalog has no model "none".');
    await runMuster(["catalog", "add", "hf:acme/embed", "--type", "chat", "--write"], env);
    expect((await run("embed")).stderr).toContain("Nothing was removed: without a terminal nobody can be asked.");
    expect((await run("embed", "--type", "other", "--yes")).stderr).toContain("hint It is in chat.");
    const out = await run("embed", "--type", "chat", "--yes");
    expect(out.stdout).toBe("Took embed out of chat\n");
    expect(JSON.parse(readFileSync(file, "utf8")).workerTypes.chat.models).toEqual(["first"]);
    expect(JSON.parse((await run("embed", "--yes", "--json")).stdout)).toEqual({
      ...{ id: "embed", file, workerTypes: [], removed: true, dryRun: false },
    });
    expect(readFileSync(file, "utf8")).toBe(text);
  });
});
