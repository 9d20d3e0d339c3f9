import { createHash } from "node:crypto";
import { z } from "zod";
import { MusterError } from "../errors.ts";
import type { FileSpec } from "../model.ts";
import { type AskOptions, askText } from "./ask-text.ts";
import type { HttpSubject } from "./http-errors.ts";
import { type OllamaName, registryUrl } from "./ollama-name.ts";

/** What a registry says of a model: the manifest's very bytes, which Ollama keeps and takes its digest of. */
export interface OllamaManifest {
  /** Hex sha256 of the text. */
  digest: string;
  text: string;
  /** Layers and config, each content once, under the names that Ollama's store gives them. */
  blobs: FileSpec[];
  weightsBytes: number;
  projectorBytes: number;
}

const MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json";
const LAYER = "application/vnd.ollama.image.";

const blob = z.object({
  mediaType: z.string(),
  digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  size: z.int().nonnegative(),
});
const manifestSchema = z.object({ schemaVersion: z.literal(2), config: blob, layers: z.array(blob).min(1) });
const configSchema = z.object({ remote_host: z.string().optional(), remote_model: z.string().optional() });

export interface RegistryOptions extends AskOptions {
  /** Stands in for registry.ollama.ai. */
  registry: string;
}

export function modelUrl(name: OllamaName, registry: string): string {
  return `${registryUrl(name, registry)}/v2/${name.namespace}/${name.model}`;
}

export function blobUrl(name: OllamaName, registry: string, { digest }: FileSpec): string {
  return `${modelUrl(name, registry)}/blobs/sha256:${digest.hex}`;
}

/** Asks for the manifest of a tag, and refuses what this machine's Ollama could not run. */
export async function fetchManifest(
  name: OllamaName,
  subject: HttpSubject,
  options: RegistryOptions,
): Promise<OllamaManifest> {
  const url = `${modelUrl(name, options.registry)}/manifests/${name.tag}`;
  const text = await askText(url, subject, { ...options, accept: MEDIA_TYPE });
  const manifest = readManifestText(text, subject);
  const [config] = manifest.blobs;
  // Small; asked for now because it says whether there are weights at all.
  if (config && config.size < 1 << 20) {
    const said = parseJson(await askText(blobUrl(name, options.registry, config), subject, options), configSchema);
    if (said?.remote_host || said?.remote_model)
      throw unsupported(subject, "runs in Ollama's cloud and has no weights to fetch");
  }
  return manifest;
}

/** A manifest's text taken apart; its config comes first. */
export function readManifestText(text: string, subject: HttpSubject): OllamaManifest {
  const manifest = parseJson(text, manifestSchema);
  if (!manifest) {
    throw new MusterError(
      "RESPONSE_INVALID",
      `The registry's answer for ${subject.name} is no manifest: ${text.slice(0, 80)}`,
      {
        hint: "Check the name, OLLAMA_REGISTRY, and that no proxy answers in its place.",
      },
    );
  }
  if (manifest.layers.some(({ mediaType }) => mediaType === `${LAYER}tensor`)) {
    throw unsupported(subject, "is made of tensor layers, which only Ollama with MLX runs");
  }
  const sizeOf = (kind: string) =>
    manifest.layers.filter(({ mediaType }) => mediaType === `${LAYER}${kind}`).reduce((sum, { size }) => sum + size, 0);
  const blobs = new Map(
    [manifest.config, ...manifest.layers].map(({ digest, size }): [string, FileSpec] => {
      const hex = digest.slice("sha256:".length);
      return [hex, { path: `blobs/sha256-${hex}`, size, digest: { algorithm: "sha256", hex } }];
    }),
  );
  return {
    digest: createHash("sha256").update(text).digest("hex"),
    text,
    blobs: [...blobs.values()],
    weightsBytes: sizeOf("model"),
    projectorBytes: sizeOf("projector"),
  };
}

function parseJson<T>(text: string, schema: z.ZodType<T>): T | null {
  try {
    return schema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}

function unsupported(subject: HttpSubject, why: string): MusterError {
  return new MusterError("SOURCE_UNSUPPORTED", `${subject.name} ${why}.`, {
    hint: `Choose another tag at ${subject.page}.`,
  });
}
