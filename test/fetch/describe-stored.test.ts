import { rmSync } from "node:fs";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { collectFacts } from "../../src/fetch/describe.ts";
import { lockedOf } from "../../src/fetch/lock-file.ts";
import { syncModels } from "../../src/fetch/sync-models.ts";
import { startHub } from "../fakes/hub/hub.ts";
import { startOllamaRegistry } from "../fakes/ollama-registry.ts";
import { causalLmRepo, ggufRepo, llamaGguf } from "../fakes/tiny-models.ts";
import { temporaryFolder } from "../store/temporary-folder.ts";
import { modelSpec, openTransfer, syncContext } from "./sync-context.ts";

it("what is complete on the volume is known as its sources told it, where no description is left and no network", async () => {
  const card = { "README.md": "---\nlicense: mit\n---\n" };
  const hub = await startHub({
    repos: [
      { id: "acme/tiny", license: "mit", files: { ...causalLmRepo("acme/tiny"), ...card } },
      { id: "acme/gguf", license: "mit", files: { ...ggufRepo("acme/gguf", { quants: ["Q8_0"] }), ...card } },
    ],
  });
  const registry = await startOllamaRegistry();
  onTestFinished(async () => void (await Promise.all([hub.close(), registry[Symbol.asyncDispose]()])));
  registry.addModel("library/chat:latest", {
    layers: { model: llamaGguf({ type: "Q8_0", sizeBytes: 256 << 10, seed: "chat" }) },
  });
  const specs = [
    modelSpec("acme/tiny"),
    modelSpec("acme/gguf", { format: "gguf", quantization: "q8_0" }),
    { ...modelSpec("chat", { source: "ollama", format: "gguf", engine: "ollama" }), license: null },
  ];
  const variants = specs.map(({ variant }) => variant);
  const volume = temporaryFolder();
  const input = { endpoint: hub.url, registries: [registry.url], volume };
  await using transfer = openTransfer(input);
  const outcomes = await syncModels(specs, syncContext(input, transfer), {
    onProgress: () => undefined,
    onNote: () => undefined,
  });
  expect(outcomes.map(({ error }) => error)).toEqual([null, null, null]);
  const factsOf = (context: Parameters<typeof collectFacts>[1]) =>
    collectFacts(variants, context, (_variant, error) => {
      throw error;
    });
  const told = await factsOf(syncContext(input, transfer));
  for (const variant of variants) expect(told.get(variant)?.architecture?.maxContext).toBeGreaterThan(0);
  rmSync(join(volume, ".muster/descriptions"), { recursive: true });
  const found = await factsOf(syncContext({ ...input, offline: true }, transfer));
  for (const variant of variants) expect(found.get(variant)).toEqual(told.get(variant));
  // Another revision than the one on the volume is not described by that.
  const other = { ...lockedOf(outcomes[0]!.stored!), revision: "0".repeat(40) };
  const context = syncContext({ ...input, offline: true }, transfer);
  const failed: string[] = [];
  await collectFacts(
    [variants[0]!],
    { ...context, lock: async () => new Map([[other.key, other]]) },
    ({ location }) => void failed.push(location),
  );
  expect(failed).toEqual(["acme/tiny"]);
});
