import { readFileSync } from "node:fs";
import { join } from "node:path";
import { startHash } from "../../../src/fetch/hash-file.ts";
import { syncModels } from "../../../src/fetch/sync-models.ts";
import type { StoredModel } from "../../../src/model.ts";
import { createLayout, type Layout } from "../../../src/store/layout.ts";
import { isComplete, listManifests } from "../../../src/store/manifest.ts";
import { startHub } from "../../fakes/hub/hub.ts";
import { startOllamaRegistry } from "../../fakes/ollama-registry.ts";
import { seededBytes } from "../../fakes/tiny-models.ts";
import { modelSpec, syncContext, type Transfer } from "../sync-context.ts";

export const layoutOf = (volume: string): Layout =>
  createLayout(volume, join(volume, "huggingface/hub"), join(volume, "ollama"));

export const byKey = (models: StoredModel[]) => models.toSorted((a, b) => (a.key < b.key ? -1 : 1));

/** Fills a volume with two small repositories that share files, and a model of Ollama's. Gives its records, in order. */
export async function fillVolume(volume: string, transfer: Transfer, bytes: number): Promise<StoredModel[]> {
  const shared = { "tokenizer.json": '{"a":1}', "empty.txt": "", "sub folder/ü#1.json": "{}" };
  const files = (seed: number) => ({ ...shared, "config.json": "{}", "model.safetensors": seededBytes(bytes, seed) });
  const hub = await startHub({ repos: ["acme/tiny", "acme/twin"].map((id, index) => ({ id, files: files(index) })) });
  const registry = await startOllamaRegistry();
  try {
    registry.addModel("library/chat:latest", { layers: { model: seededBytes(bytes, 5) } });
    const specs = [
      modelSpec("acme/tiny"),
      modelSpec("acme/twin"),
      modelSpec("chat", { source: "ollama", format: "gguf", engine: "ollama" }),
    ];
    const context = syncContext({ endpoint: hub.url, volume, registries: [registry.url] }, transfer);
    const outcomes = await syncModels(specs, context, { onProgress: () => undefined, onNote: () => undefined });
    for (const { error } of outcomes) if (error) throw error;
    return byKey(await listManifests(layoutOf(volume)));
  } finally {
    await Promise.all([hub.close(), registry[Symbol.asyncDispose]()]);
  }
}

/** Of what the volume's records call complete: the model without what every volume has of its own, if its files are right. */
export async function rightModels(volume: string) {
  const layout = layoutOf(volume);
  const found = [];
  for (const { path, storedAt: _, ...model } of byKey(await listManifests(layout))) {
    if (!(await isComplete(layout, { ...model, path, storedAt: "" }))) continue;
    for (const file of model.files) {
      const content = readFileSync(join(path, file.path));
      const hex = startHash(file.digest.algorithm, file.size).update(content).digest("hex");
      if (hex !== file.digest.hex) throw new Error(`${file.path} of ${model.location} is wrong`);
    }
    found.push(model);
  }
  return found;
}
