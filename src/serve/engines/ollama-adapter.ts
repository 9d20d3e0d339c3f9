import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { MusterError } from "../../errors.ts";
import type { FileSpec } from "../../model.ts";
import type { EngineAdapter } from "./engine.ts";
import type { EngineHttp } from "./engine-http.ts";
import { lines } from "./lines.ts";

/**
 * LoRA adapters on Ollama: a model of its own, made of the base and the adapter's files. Its name tells what it was made
 * of, so that one that is there is the right one, and one whose parts have changed is another.
 */

/** The model's name at Ollama. `baseRevision`: digest of the base's manifest, as far as the volume tells. */
export function adapterName(id: string, { base, files }: EngineAdapter, baseRevision: string | null): string {
  const parts = adapterFiles(files).map(({ path, digest }) => [basename(path), digest.hex]);
  const print = createHash("sha256")
    .update(JSON.stringify([base, baseRevision, parts]))
    .digest("hex");
  return `muster/${id.replace(/[^\w.-]/g, "-").slice(0, 80)}:${print.slice(0, 12)}`;
}

/** What Ollama takes of an adapter's folder: PEFT's two files, or a GGUF. */
function adapterFiles(files: readonly FileSpec[]): FileSpec[] {
  const ofPeft = files.filter(({ path }) => path === "adapter_config.json" || /^[^/]+\.safetensors$/.test(path));
  const gguf = files.filter(({ path }) => /^[^/]+\.gguf$/.test(path)).slice(0, 1);
  return (ofPeft.length > 1 ? ofPeft : gguf).toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

/** Makes the model where it is not there yet. */
export async function createAdapter(
  http: EngineHttp,
  name: string,
  { base, folder, files, signal }: EngineAdapter & { signal: AbortSignal },
): Promise<void> {
  if (await isThere(http, name, signal)) return;
  const taken = adapterFiles(files);
  if (taken.length === 0) {
    throw new MusterError("FILE_NOT_FOUND", `${folder} holds no adapter that Ollama takes.`, {
      hint: "Name a repository with adapter_config.json and adapter_model.safetensors, or with a GGUF file, in the catalog; `muster list` shows what is stored.",
    });
  }
  const digests: Record<string, string> = {};
  for (const file of taken)
    digests[basename(file.path)] = await upload(http, join(folder, file.path), { file, signal });
  const body = JSON.stringify({ model: name, from: base, adapters: digests, stream: false });
  await drain(await http.send("/api/create", { body, signal }));
}

function isThere(http: EngineHttp, name: string, signal: AbortSignal): Promise<boolean> {
  return found(http.send("/api/show", { body: JSON.stringify({ model: name }), signal }));
}

async function found(answer: Promise<AsyncIterable<Uint8Array>>): Promise<boolean> {
  try {
    await drain(await answer);
    return true;
  } catch (error) {
    if (error instanceof MusterError && error.details.status === 404) return false;
    throw error;
  }
}

/** Gives the digest by which Ollama knows the content; what it has already is not sent. */
async function upload(
  http: EngineHttp,
  path: string,
  { file, signal }: { file: FileSpec; signal: AbortSignal },
): Promise<string> {
  const { algorithm, hex } = file.digest;
  const sha256 =
    algorithm === "sha256"
      ? hex
      : createHash("sha256")
          .update(await readFile(path))
          .digest("hex");
  const digest = `sha256:${sha256}`;
  const blob = `/api/blobs/${digest}`;
  if (!(await found(http.send(blob, { method: "HEAD", signal })))) {
    await drain(await http.send(blob, { body: createReadStream(path), signal }));
  }
  return digest;
}

const LINE_BYTES = 4 * 1024 * 1024;

/** An answer is read to its end, so that it is known to be over. */
async function drain(answer: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const _ of lines(answer, LINE_BYTES));
}
