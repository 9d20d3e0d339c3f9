import { MusterError, toMusterError } from "../../errors.ts";
import type { Architecture, FileSpec } from "../../model.ts";
import { type OllamaName, parseOllamaName, pinnedDigest } from "../../store/ollama-name.ts";
import { type AskOptions, ask, askStart } from "../ask.ts";
import type { HttpSubject } from "../http-errors.ts";
import { recognizeLicenses } from "../license-text.ts";
import type { Origin } from "../origin.ts";
import { readGgufStart } from "../read-gguf.ts";
import type { OllamaKey } from "./ollama-key.ts";
import {
  blobUrl,
  MANIFEST_TYPE,
  modelUrl,
  type OllamaManifest,
  readConfigBlob,
  readManifest,
  refuseCloudModel,
  subjectOf,
} from "./ollama-registry.ts";
import { type AuthorizedQuestion, RegistryTokens } from "./ollama-token.ts";

export interface RegistryOptions {
  /** Stands for registry.ollama.ai; names that give a host of their own are asked of that host. */
  registry: string;
  /** Asked for where a registry wants to know who asks. */
  key: () => Promise<OllamaKey>;
}

/** Bytes; a larger one is not a configuration. */
const LARGEST_CONFIG = 1 << 20;

/** A registry (or a mirror of it, or one that pulls through) as a place that Ollama models come from. */
export function ollamaOrigin({ registry, key }: RegistryOptions): Origin {
  const tokens = new RegistryTokens(key);
  const about = (location: string, options: AskOptions) => new ModelQuestions(location, registry, tokens, options);
  return {
    name: new URL(registry).host,
    async describe({ location, revision }, options) {
      const model = about(location, options);
      const manifest = await model.manifestAt(revision);
      const { config, digest, text, blobs, weightsBytes, projectorBytes } = manifest;
      const read = async (file: FileSpec) => (await options.readStored(file)) ?? (await model.text(file));
      const said = config.size <= LARGEST_CONFIG ? await read(config) : "";
      refuseCloudModel(said, model.subject);
      const { quantization, family } = readConfigBlob(said);
      const license = recognizeLicenses(await Promise.all(manifest.licenses.map(read)));
      const task = projectorBytes > 0 ? "vision" : /bert/.test(family) ? "embedding" : family ? "chat" : null;
      return {
        card: { license, gated: false, task, quantization },
        revision: digest,
        files: blobs,
        weights: { weightsBytes, projectorBytes },
        architecture: await model.architecture(manifest),
        manifest: text,
      };
    },
    async locate({ location }, _revision, file, options) {
      const model = about(location, options);
      const authorization = await tokens.authorization(model.url, file, () => model.manifest(model.name.tag));
      const url = blobUrl(model.url, file);
      return {
        kind: "http",
        url,
        authorization,
        renewable: true,
        page: model.subject.page,
        settings: model.subject.settings,
        signed: false,
      };
    },
  };
}

/** What is asked of the registry about one model. */
class ModelQuestions {
  readonly name: OllamaName;
  readonly url: string;
  readonly subject: HttpSubject;
  readonly #tokens: RegistryTokens;
  readonly #options: AskOptions;

  constructor(location: string, registry: string, tokens: RegistryTokens, options: AskOptions) {
    this.name = parseOllamaName(location);
    this.url = modelUrl(this.name, registry);
    this.subject = subjectOf(location, this.name);
    this.#tokens = tokens;
    this.#options = options;
  }

  /** The manifest that a catalog's revision stands for: a pinned digest, else whatever the tag names now. */
  async manifestAt(revision: string): Promise<OllamaManifest> {
    const pinned = pinnedDigest(revision);
    const current = await this.manifest(this.name.tag);
    if (!pinned || current.digest === pinned) return current;
    const older = await this.manifest(`sha256:${pinned}`).catch((cause: unknown) => {
      if (toMusterError(cause).retryable) throw cause;
      return null;
    });
    if (older?.digest === pinned) return older;
    throw new MusterError("REVISION_NOT_FOUND", `${this.subject.name} is ${current.digest} now, not ${pinned}.`, {
      hint: `Set the variant's revision in the catalog to the digest of a tag of ${this.subject.page}, or leave it out.`,
    });
  }

  async manifest(reference: string): Promise<OllamaManifest> {
    const accept = { accept: MANIFEST_TYPE };
    const { text } = await this.#ask(({ headers, subject, options }) =>
      ask(`${this.url}/manifests/${reference}`, subject, options, { ...headers, ...accept }),
    );
    return readManifest(text, this.subject);
  }

  async text(file: FileSpec): Promise<string> {
    const url = blobUrl(this.url, file);
    return (await this.#ask(({ headers, subject, options }) => ask(url, subject, options, headers))).text;
  }

  async architecture({ weights }: OllamaManifest): Promise<Architecture | null> {
    if (!weights) return null;
    const url = blobUrl(this.url, weights);
    return readGgufStart(weights.size, (length) =>
      this.#ask(({ headers, subject, options }) => askStart(url, length, subject, options, headers)),
    );
  }

  #ask<T>(work: (asked: AuthorizedQuestion) => Promise<T>): Promise<T> {
    return this.#tokens.ask(this.url, { subject: this.subject, options: this.#options }, work);
  }
}
