import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { StoredModel, Variant } from "../model.ts";
import type { Layout } from "../store/layout.ts";
import { filesToFetch, findComplete } from "../store/manifest.ts";
import { parseOllamaName } from "../store/ollama-name.ts";
import { recognizeLicenses } from "./license-text.ts";
import type { ModelSurvey } from "./origin.ts";
import { ggufHead, readGgufStart } from "./read-gguf.ts";
import { readManifest, subjectOf } from "./sources/ollama-registry.ts";
import { readAbout } from "./sources/read-about.ts";

/**
 * What the files of a model say that is complete on the volume, though no source was ever asked here: it came in a bundle, or
 * with the disk. Null where it is not complete, or at another revision than the one that is locked.
 */
export async function describeStored(
  variant: Variant,
  layout: Layout,
  locked: string | undefined,
): Promise<ModelSurvey | null> {
  const record = await findComplete(layout, variant);
  if (!record || (locked !== undefined && record.revision !== locked)) return null;
  return variant.source === "ollama" ? ofOllama(record) : ofFiles(record, variant);
}

async function ofFiles(record: StoredModel, { format }: Variant): Promise<ModelSurvey> {
  const { path: folder, files, license } = record;
  const about = await readAbout(files, { license, read: (path) => readFile(join(folder, path), "utf8") });
  const gguf = format === "gguf" && !about.architecture ? ggufHead(files) : undefined;
  return { files, ...about, ...(gguf ? { architecture: await architectureOf(record, gguf) } : {}) };
}

async function ofOllama(record: StoredModel): Promise<ModelSurvey | null> {
  const { location, manifest, path: folder, quantization } = record;
  if (manifest === null) return null;
  const said = readManifest(manifest, subjectOf(location, parseOllamaName(location)));
  const texts = await Promise.all(said.licenses.map(({ path }) => readFile(join(folder, path), "utf8")));
  const license = recognizeLicenses(texts) ?? record.license;
  return {
    files: filesToFetch(record),
    weights: { weightsBytes: said.weightsBytes, projectorBytes: said.projectorBytes },
    architecture: said.weights && (await architectureOf(record, said.weights)),
    card: { license, gated: false, task: null, quantization },
  };
}

function architectureOf({ path: folder }: StoredModel, { path, size }: { path: string; size: number }) {
  return readGgufStart(size, async (length) => {
    await using file = await open(join(folder, path));
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, 0);
    return buffer.subarray(0, bytesRead);
  });
}
