import type { Config } from "../../config.ts";
import type { Engine as EngineKind, ModelSpec, StoredModel } from "../../model.ts";
import type { Engine, EngineAdapter, EngineModel } from "./engine.ts";
import { ollamaEngine } from "./ollama.ts";
import { adapterName } from "./ollama-adapter.ts";
import { openAiEngine } from "./openai.ts";
import { servedNames, usualName } from "./served-name.ts";

/** A model, and the engine that serves it under the name in it. */
export interface ServedModel {
  engine: Engine;
  model: EngineModel;
}

/** The engines of this worker, and which of its models each of them serves. */
export interface Engines {
  readonly all: readonly Engine[];
  /** The models of this worker from now on, in their order. */
  serve(specs: readonly ModelSpec[]): void;
  /** Those of one engine; `model` is null where the engine says that it serves others. */
  of(engine: Engine): { spec: ModelSpec; model: EngineModel | null }[];
  /** By its id, or by its name at its source. Null where no engine of its kind is configured, or none serves it. */
  find(name: string): ServedModel | null;
  /** Takes note of what an engine says it serves; null where it does not say. */
  learn(engine: Engine, listed: string[] | null): Promise<void>;
}

export interface OpenEnginesOptions {
  config: Pick<Config, "engineUrls" | "engineKeys">;
  /** A model as it stands on the volume; its path may be its name at vLLM. */
  storedOf: (spec: ModelSpec) => Promise<StoredModel | null>;
}

/** The engines whose URLs are configured. A model is served by that of the kind that its variant names. */
export function openEngines({ config, storedOf }: OpenEnginesOptions): Engines {
  const engines = openAll(config);
  let models: readonly ModelSpec[] = [];
  /** By engine, then by model id: what the engine calls it. Nothing is known of an engine before it has answered. */
  const names = new Map<EngineKind, Map<string, string>>();
  /** Engines that say what they serve, so that they do not serve what is not among it. */
  const listing = new Set<EngineKind>();
  const adapters = new Map<string, EngineAdapter>();

  const ofKind = (kind: EngineKind) => models.filter(({ variant }) => variant.engine === kind);
  const asked = (spec: ModelSpec): EngineModel | null => {
    const { engine } = spec.variant;
    const name = names.get(engine)?.get(spec.id) ?? (listing.has(engine) ? undefined : usualName(spec));
    const { id, task, context, prompts } = spec;
    const model = { id, task, context, prompts, adapter: adapters.get(id) };
    return name === undefined ? null : { ...model, name };
  };

  return {
    all: engines,
    serve(specs) {
      models = specs;
    },
    of: ({ kind }) => ofKind(kind).map((spec) => ({ spec, model: asked(spec) })),
    find(name) {
      const spec = models.find(({ id }) => id === name) ?? models.find(({ variant }) => variant.location === name);
      const engine = spec && engines.find(({ kind }) => kind === spec.variant.engine);
      const model = spec && asked(spec);
      return engine && model ? { engine, model } : null;
    },
    async learn({ kind }, listed) {
      const wanted = ofKind(kind).map(async (spec) => ({
        spec,
        path: listed && ((await storedOf(spec).catch(() => null))?.path ?? null),
      }));
      const served = servedNames(await Promise.all(wanted), listed);
      // Ollama knows of an adapter only once it was made a model of its own.
      for (const spec of kind === "ollama" ? ofKind(kind).filter(({ adapterOf }) => adapterOf !== null) : []) {
        const base = models.find(({ id }) => id === spec.adapterOf);
        const stored = await storedOf(spec).catch(() => null);
        if (!base || !stored) continue;
        const adapter = { base: base.variant.location, folder: stored.path, files: stored.files };
        adapters.set(spec.id, adapter);
        const revision = (await storedOf(base).catch(() => null))?.revision ?? null;
        served.set(spec.id, adapterName(spec.id, adapter, revision));
      }
      names.set(kind, served);
      if (listed) listing.add(kind);
      else listing.delete(kind);
    },
  };
}

function openAll({ engineUrls, engineKeys }: OpenEnginesOptions["config"]): Engine[] {
  const { ollama, vllm, openai } = engineUrls;
  return [
    ...(ollama ? [ollamaEngine(ollama)] : []),
    ...(vllm ? [openAiEngine({ kind: "vllm", url: vllm, apiKey: engineKeys.vllm })] : []),
    ...(openai ? [openAiEngine({ kind: "openai", url: openai, apiKey: engineKeys.openai })] : []),
  ];
}
