import type * as z from "zod";
import type { Architecture, Engine, Source, Task, Variant, VariantFacts } from "../model.ts";
import type { catalogSchema } from "./catalog-schema.ts";
import { LOCATION_FIELDS } from "./catalog-schema.ts";
import { type CardFit, leastGpuMemoryGb, smallestCard } from "./smallest-card.ts";

/** A model as somebody would write it into a catalog. */
export type WrittenModel = z.input<typeof catalogSchema>["models"][string];

export interface FoundModel {
  variant: Variant;
  facts: VariantFacts;
  license: string | null;
  gated: boolean;
  task: Task;
}

/** Cards that share one model, where one is too small. */
const SPLITS = [1, 2, 4, 8];

/** The entry for a model, and the cards that it needs: as few as hold it, and none where it could also run without. */
export function proposeEntry(found: FoundModel): { entry: WrittenModel; fits: CardFit } {
  const { facts, license, gated, task } = found;
  const { architecture } = facts;
  const hasContext = architecture !== null && architecture.attentionLayers + architecture.windowedLayers > 0;
  const contextLength = hasContext ? architecture.maxContext : null;
  const tries = (found.variant.engine === "vllm" ? SPLITS : [1]).map((gpuCount) => {
    const variant = { ...found.variant, gpuCount };
    return { variant, fits: smallestCard(variant, facts, contextLength) };
  });
  const { variant, fits } = tries.find((each) => each.fits.gpuMemoryGb !== null) ?? tries[0]!;
  const least = variant.engine === "vllm" ? leastGpuMemoryGb(variant, facts, contextLength) : null;
  const sizeBytes = facts.weightsBytes === null ? null : facts.weightsBytes + facts.projectorBytes;
  const { source, location, revision, format, quantization, engine, gpuCount, allowPickle } = variant;
  return {
    fits,
    entry: {
      task,
      ...(license === null ? {} : { license }),
      ...(gated ? { gated } : {}),
      ...(contextLength === null ? {} : { contextLength }),
      variants: [
        {
          source,
          [LOCATION_FIELDS[source]]: location,
          ...(revision === "main" ? {} : { revision }),
          ...(format === usualFormat(source) ? {} : { format }),
          ...(allowPickle ? { allowPickle } : {}),
          ...(quantization === null ? {} : { quantization }),
          engine,
          ...(least ? { minGpuMemoryGb: least } : {}),
          ...(gpuCount > 1 ? { gpuCount } : {}),
          ...(architecture === null ? {} : { architecture: written(architecture) }),
          ...(sizeBytes === null ? {} : { sizeBytes }),
        },
      ],
    },
  };
}

/** What serves a model of that kind from there. */
export function usualEngine(source: Source, task: Task): Engine {
  if (source === "ollama") return "ollama";
  return task === "embedding" || task === "rerank" ? "openai" : "vllm";
}

/** An id for the catalog out of a name at a source. */
export function usualId({ source, location }: Pick<Variant, "source" | "location">): string {
  const name =
    location
      .replace(/:latest$/, "")
      .split("/")
      .filter(Boolean)
      .at(-1) ?? location;
  const plain = source === "ollama" ? name.replace(":", "-") : name;
  return plain
    .toLowerCase()
    .replace(/[^\w.-]+/g, "-")
    .replace(/^[^\w]+/, "");
}

function usualFormat(source: Source): Variant["format"] {
  return source === "ollama" ? "gguf" : "safetensors";
}

/** Without what the schema takes for granted. */
function written(architecture: Architecture) {
  const { windowedLayers, window, kvBytes, ...rest } = architecture;
  const said = Object.entries(rest).filter(([, value]) => value !== null);
  return {
    ...(Object.fromEntries(said) as Pick<
      Architecture,
      "attentionLayers" | "heads" | "kvHeads" | "headDim" | "hiddenSize"
    >),
    ...(windowedLayers > 0 ? { windowedLayers, window } : {}),
    ...(kvBytes === 2 ? {} : { kvBytes }),
  };
}
