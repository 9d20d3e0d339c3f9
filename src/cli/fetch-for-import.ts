import type { Config } from "../config.ts";
import { MusterError } from "../errors.ts";
import { filesToCreate } from "../fetch/create/create-files.ts";
import { asked, type LocalModel, storedModel } from "../fetch/create/local-files.ts";
import { askSource, chosenFiles } from "../fetch/describe.ts";
import { holdModels } from "../fetch/hold-models.ts";
import { missingBytes } from "../fetch/missing-bytes.ts";
import { logProgress } from "../fetch/progress-log.ts";
import type { SyncContext } from "../fetch/sync-context.ts";
import { syncModels } from "../fetch/sync-models.ts";
import type { Logger } from "../log.ts";
import type { ModelSpec, Variant } from "../model.ts";
import { parseReference } from "../model-reference.ts";
import { drawProgress } from "./progress-bars.ts";

/** A repository, or a bucket's folder, that a server is to make a model of. */
export interface WantedRepository {
  source: string;
  quantization: string | null;
  /** As the operator says it; null where he does not. */
  license: string | null;
}

/** On the volume, and kept there until it is disposed of. */
export interface FetchedModel extends AsyncDisposable {
  model: LocalModel;
}

interface FetchTools {
  config: Config;
  fetching: SyncContext;
  log: Logger;
  terminal: NodeJS.WriteStream | null;
}

/** Fetches it to the volume as `muster sync` does, but for what is there. Throws MusterError. */
export async function fetchModel(wanted: WantedRepository, tools: FetchTools): Promise<FetchedModel> {
  const { fetching, log, terminal } = tools;
  const spec = specOf(variantOf(wanted), wanted.license);
  const { layout } = fetching;
  const hold = await holdModels([spec], { layout, name: "muster import-gguf", workerType: null });
  try {
    const observer = terminal ? drawProgress(terminal, log) : { ...logProgress(log), close: () => undefined };
    const [outcome] = await syncModels([spec], fetching, observer);
    observer.close();
    if (!outcome?.stored) throw outcome?.error;
    const model = storedModel(outcome.stored);
    return { model, [Symbol.asyncDispose]: () => hold[Symbol.asyncDispose]() };
  } catch (error) {
    await hold[Symbol.asyncDispose]();
    throw error;
  }
}

/** What would be fetched and sent. */
export async function plannedModel(
  wanted: WantedRepository,
  fetching: SyncContext,
): Promise<{ name: string; files: { path: string; size: number }[]; fetchBytes: number }> {
  const variant = variantOf(wanted);
  const description = await askSource(variant, fetching);
  const { files } = chosenFiles(variant, description, fetching);
  const { bytesMissing } = await missingBytes(variant, fetching);
  const total = files.reduce((sum, { size }) => sum + size, 0);
  return { name: variant.location, files: filesToCreate(files, variant.location), fetchBytes: bytesMissing ?? total };
}

/** A repository may be named without `hf:` here, where nothing else has such a name. */
function variantOf({ source, quantization }: WantedRepository): Variant {
  const named = parseReference(source) ?? parseReference(`hf:${source}`);
  if (named && named.source !== "ollama") {
    const { source: from, location, revision } = named;
    return asked({ source: from, location, revision, quantization });
  }
  const why = named ? "is a model of Ollama already" : "is no file or folder here, and names no repository";
  throw new MusterError("USAGE", `${JSON.stringify(source)} ${why}.`, {
    hint: "Name a .gguf file, a folder with safetensors, or a repository: hf:org/name[@revision], s3://bucket/folder.",
  });
}

function specOf(variant: Variant, license: string | null): ModelSpec {
  return {
    ...{ id: variant.location, task: "chat", required: true, license, gated: false, variant },
    ...{ context: null, slots: null, gpus: [], share: { gpuMemory: null, sequences: null }, prompts: {} },
    ...{ adapterOf: null, reason: "to be brought to Ollama" },
  };
}
