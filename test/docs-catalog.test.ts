import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { it, onTestFinished } from "vitest";
import { checkTranscripts } from "./document-transcripts.ts";
import { place } from "./e2e/muster.ts";
import { startHub } from "./fakes/hub/hub.ts";
import { startOllamaApi } from "./fakes/ollama-api.ts";
import { startOllamaRegistry } from "./fakes/ollama-registry.ts";
import { causalLmRepo, ggufRepo, llamaGguf } from "./fakes/tiny-models.ts";

const CATALOG = {
  models: {
    first: {
      task: "chat",
      license: "apache-2.0",
      contextLength: 32768,
      variants: [
        { source: "huggingface", repo: "acme/first-7b", engine: "vllm", minGpuMemoryGb: 19, sizeBytes: 14_483_498_224 },
        {
          ...{ id: "small", source: "huggingface", repo: "acme/first-7b-awq", engine: "vllm", quantization: "awq" },
          ...{ minGpuMemoryGb: 7, sizeBytes: 4_158_662_096 },
        },
      ],
    },
    tool: {
      task: "embedding",
      license: "mit",
      variants: [{ source: "huggingface", repo: "acme/embed", engine: "openai", sizeBytes: 90_868_376 }],
    },
  },
  workerTypes: { chat: { gpu: "preferred", models: ["first"], slots: { chat: 4, embedding: 1 } } },
};

// `UPDATE_TRANSCRIPTS=1 npx vitest run test/docs-catalog.test.ts` renews what the commands print.
it("the transcripts of docs/catalog.md are what the commands print", async () => {
  const hub = await startHub({
    repos: [
      { id: "acme/Tiny-Chat", files: causalLmRepo("acme/Tiny-Chat"), license: "apache-2.0" },
      { id: "acme/Tiny-GGUF", files: ggufRepo("acme/Tiny-GGUF"), license: "apache-2.0" },
      { id: "acme/research", files: causalLmRepo("acme/research"), license: "cc-by-nc-4.0" },
    ],
  });
  const registry = await startOllamaRegistry();
  registry.addModel("library/tiny:1b", {
    layers: { model: llamaGguf({ type: "Q4_0", sizeBytes: 65536, seed: 1 }), license: "Apache License\nVersion 2.0" },
    config: { file_type: "Q4_0", model_family: "llama" },
  });
  const api = await startOllamaApi();
  const here = place({ HF_ENDPOINT: hub.url, OLLAMA_REGISTRY: registry.url, OLLAMA_URL: api.url });
  onTestFinished(async () => {
    here[Symbol.dispose]();
    await Promise.all([hub.close(), registry[Symbol.asyncDispose](), api[Symbol.asyncDispose]()]);
  });
  const settings = join(here.folder, "settings");
  mkdirSync(settings);
  const file = join(settings, "worker-types.json");
  writeFileSync(file, `${JSON.stringify(CATALOG, null, 2)}\n`);
  const env = { ...here.env, WORKER_TYPES_FILE: file };
  const paths = { "/models": here.volume, "/etc/muster": settings, "http://ollama:11434": api.url };
  await checkTranscripts(join(import.meta.dirname, "../docs/catalog.md"), { env, folder: here.folder, paths });
});
