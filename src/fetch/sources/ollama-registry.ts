import { createHash } from "node:crypto";
import * as z from "zod";
import { MusterError } from "../../errors.ts";
import type { FileSpec } from "../../model.ts";
import { OLLAMA_HOST, type OllamaName } from "../../store/ollama-name.ts";
import type { HttpSubject } from "../http-errors.ts";

/** What a registry says of a model, and where it is asked. */

export interface OllamaManifest {
  /** The very text: Ollama keeps it, and takes its digest for the model's. */
  text: string;
  /** Hex sha256 of the text. */
  digest: string;
  config: FileSpec;
  /** Config and layers, each content once, under the names that Ollama's store gives them. */
  blobs: FileSpec[];
  /** The layer with the weights; a model that only adds to another's may have none. */
  weights: FileSpec | null;
  weightsBytes: number;
  projectorBytes: number;
  /** Texts of licences, as far as they are worth reading. */
  licenses: FileSpec[];
}

export const MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json";
/** Bytes. */
const LARGEST_LICENSE = 256 << 10;
const MOST_LICENSES = 4;
const LAYER = "application/vnd.ollama.image.";

const blob = z.object({
  mediaType: z.string(),
  digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  size: z.int().nonnegative(),
});
const manifestSchema = z.object({ config: blob, layers: z.array(blob) });
const configSchema = z
  .object({ remote_host: z.string(), remote_model: z.string(), file_type: z.string(), model_family: z.string() })
  .partial();

/** Where a name's model is asked for. `registry` stands for registry.ollama.ai, as a mirror does. */
export function modelUrl({ scheme, host, namespace, model }: OllamaName, registry: string): string {
  // Both names lead to one place, but only the long one serves models whose publisher limits access.
  const own = `${scheme}://${host === "hf.co" ? "huggingface.co" : host}`;
  return `${host === OLLAMA_HOST ? registry : own}/v2/${namespace}/${model}`;
}

export function blobUrl(modelAt: string, { digest }: FileSpec): string {
  return `${modelAt}/blobs/sha256:${digest.hex}`;
}

export function subjectOf(location: string, { scheme, host, namespace, model }: OllamaName): HttpSubject {
  const site = host === OLLAMA_HOST ? "https://ollama.com" : `${scheme}://${host}`;
  return {
    name: location,
    page: `${site}/${namespace}/${model}`,
    tokenSent: false,
    settings: { endpoint: "OLLAMA_REGISTRY", token: null },
  };
}

/** Takes a manifest apart. Throws RESPONSE_INVALID for what is none, SOURCE_UNSUPPORTED for what this machine cannot run. */
export function readManifest(text: string, subject: HttpSubject): OllamaManifest {
  const manifest = parseJson(text, manifestSchema);
  if (!manifest) {
    throw new MusterError(
      "RESPONSE_INVALID",
      `The registry's answer for ${subject.name} is no manifest: ${JSON.stringify(text.slice(0, 80))}.`,
      { hint: "Check the name, OLLAMA_REGISTRY, and that no proxy answers in its place." },
    );
  }
  const { config, layers } = manifest;
  if (layers.some(({ mediaType }) => mediaType === `${LAYER}tensor`))
    throw unsupported(subject, "is made of tensor layers, which only an Ollama with MLX runs");
  const blobs = new Map([config, ...layers].map((each) => [each.digest, toFile(each)]));
  const sized = [...blobs.values()].map(({ digest, size }) => `${digest.hex} ${size}`);
  if ([config, ...layers].some((each) => !sized.includes(`${toFile(each).digest.hex} ${each.size}`))) {
    throw new MusterError("RESPONSE_INVALID", `The manifest of ${subject.name} gives one blob two sizes.`, {
      hint: "Check OLLAMA_REGISTRY; the registry's copy is broken.",
    });
  }
  const ofKind = (kind: string) => layers.filter(({ mediaType }) => mediaType === LAYER + kind);
  const weights = ofKind("model").map(toFile);
  return {
    text,
    digest: createHash("sha256").update(text).digest("hex"),
    config: toFile(config),
    blobs: [...blobs.values()],
    weights: weights[0] ?? null,
    weightsBytes: sizeOf(weights),
    projectorBytes: sizeOf(ofKind("projector")),
    licenses: ofKind("license")
      .map(toFile)
      .filter(({ size }) => size <= LARGEST_LICENSE)
      .slice(0, MOST_LICENSES),
  };
}

/** What the text of a config says of the model. */
export function readConfigBlob(config: string): { quantization: string | null; family: string } {
  const { file_type, model_family = "" } = parseJson(config, configSchema) ?? {};
  return { quantization: file_type?.toLowerCase() || null, family: model_family };
}

/** Throws SOURCE_UNSUPPORTED where the text of a config says that the weights are elsewhere. */
export function refuseCloudModel(config: string, subject: HttpSubject): void {
  const { remote_host, remote_model } = parseJson(config, configSchema) ?? {};
  if (remote_host || remote_model)
    throw unsupported(subject, `runs at ${remote_host || "ollama.com"} and has no weights to fetch`);
}

export function unsupported(subject: HttpSubject, why: string): MusterError {
  return new MusterError("SOURCE_UNSUPPORTED", `${subject.name} ${why}.`, {
    hint: `Put another tag of ${subject.page} into the catalog, then run \`muster sync\`.`,
  });
}

function toFile({ digest, size }: z.output<typeof blob>): FileSpec {
  const hex = digest.slice("sha256:".length);
  return { path: `blobs/sha256-${hex}`, size, digest: { algorithm: "sha256", hex } };
}

function sizeOf(files: readonly { size: number }[]): number {
  return files.reduce((sum, { size }) => sum + size, 0);
}

function parseJson<T>(text: string, schema: z.ZodType<T>): T | null {
  try {
    return schema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}
