import { type MusterError, toMusterError } from "../errors.ts";
import type { Format, Variant, VariantFacts } from "../model.ts";
import { isPickle, quantizationOf } from "./choose-files.ts";
import { askSource, chosenFiles, type DescribeContext } from "./describe.ts";
import { sizeOf } from "./file-sizes.ts";
import type { ModelCard } from "./model-card.ts";

/** What a source says of a model that nobody has declared yet. */
export interface LookedUp {
  /** As it would be declared: in the format that its weights have. */
  variant: Variant;
  /** What the revision stands for now. */
  revision: string;
  /** Those that would be fetched. */
  files: number;
  bytes: number;
  facts: VariantFacts;
  card: ModelCard;
  /** Why something could not be found out. */
  closed: MusterError[];
}

const NOTHING: ModelCard = { license: null, gated: false, task: null, quantization: null };

/** Asks the source about a model, and fetches and keeps nothing. Throws MusterError. */
export async function lookUp(given: Variant, context: DescribeContext): Promise<LookedUp> {
  const closed: MusterError[] = [];
  const onClosed = (error: MusterError) => void closed.push(error);
  let description = await askSource(given, context, onClosed);
  const { files } = chosenFiles(given, description, context);
  const weights = files.map(({ path }) => path);
  const format = given.source === "ollama" ? "gguf" : formatOf(weights);
  const variant = { ...given, format };
  // Of GGUF files the shape is in their heads, which only who asks for them is told.
  if (format === "gguf" && given.format !== "gguf" && !description.architecture)
    description = await askSource(variant, context, onClosed).catch((error: unknown) => {
      closed.push(toMusterError(error));
      return description;
    });
  const chosen = chosenFiles(variant, description, context);
  const card = description.card ?? NOTHING;
  const gguf = chosen.files.find(({ path }) => /\.gguf$/i.test(path) && !/mmproj/i.test(path));
  const quantization = card.quantization ?? (gguf ? quantizationOf(gguf.path) : null);
  return {
    variant: { ...variant, quantization: given.quantization ?? quantization },
    revision: description.revision,
    files: chosen.files.length,
    bytes: sizeOf(chosen.files),
    facts: {
      weightsBytes: chosen.weightsBytes > 0 ? chosen.weightsBytes : null,
      projectorBytes: chosen.projectorBytes,
      architecture: description.architecture,
    },
    card: { ...card, quantization },
    closed,
  };
}

function formatOf(paths: readonly string[]): Format {
  if (paths.some((path) => /\.safetensors$/i.test(path))) return "safetensors";
  if (paths.some((path) => /\.gguf$/i.test(path))) return "gguf";
  return paths.some(isPickle) ? "pickle" : "safetensors";
}
