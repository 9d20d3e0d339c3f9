import { readFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import type { ModelSpec, StoredModel } from "../../model.ts";
import type { StoredFacts } from "./engine-plan.ts";

const method = z.object({ quant_method: z.string() });
/** Newer models keep the language model's part one level down. */
const config = z.object({
  quantization_config: method.optional(),
  compression_config: method.optional(),
  text_config: z.object({ quantization_config: method.optional() }).optional(),
});
const adapterConfig = z.object({
  r: z.int().positive(),
  rank_pattern: z.record(z.string(), z.int().positive()).optional(),
});

/** The facts of those models that are on the volume, by their ids. */
export async function storedFacts(
  models: readonly ModelSpec[],
  storedOf: (spec: ModelSpec) => Promise<StoredModel | null>,
): Promise<ReadonlyMap<string, StoredFacts>> {
  const found = await Promise.all(
    models.map(async (spec) => {
      const stored = await storedOf(spec).catch(() => null);
      return stored ? [[spec.id, await readStoredFacts(stored)] as const] : [];
    }),
  );
  return new Map(found.flat());
}

/** Reads what an engine's arguments depend on from the files of a stored model. Never throws. */
async function readStoredFacts({ path, files }: Pick<StoredModel, "path" | "files">): Promise<StoredFacts> {
  const [model, adapter] = await Promise.all([
    readJson(join(path, "config.json")),
    readJson(join(path, "adapter_config.json")),
  ]);
  const { quantization_config, compression_config, text_config } = config.safeParse(model).data ?? {};
  const quantized = quantization_config ?? compression_config ?? text_config?.quantization_config;
  const { r, rank_pattern } = adapterConfig.safeParse(adapter).data ?? {};
  const weights = files.filter((file) => !/mmproj/i.test(file.path)).map((file) => file.path);
  const gguf = weights.some((name) => name.endsWith(".safetensors"))
    ? undefined
    : weights.find((name) => name.endsWith(".gguf"));
  return {
    path: gguf ? join(path, gguf) : path,
    quantization: quantized?.quant_method ?? null,
    // Single layers may have a rank of their own.
    loraRank: r === undefined ? null : Math.max(r, ...Object.values(rank_pattern ?? {})),
  };
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, "utf8"));
  } catch {
    return null;
  }
}
