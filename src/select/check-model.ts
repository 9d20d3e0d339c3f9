import type { Variant } from "../model.ts";
import { LOCATION_FIELDS, type VariantEntry } from "./catalog-schema.ts";
import type { Finding } from "./finding.ts";
import { GIB, splitProblem } from "./fit.ts";
import { CARDS_GB, smallestCard } from "./smallest-card.ts";
import type { Catalog, CatalogModel } from "./worker-types.ts";

/** What is odd about one model of a catalog, variant by variant. `entry`: the variants as they are written. */
export function checkModel(model: CatalogModel, entries: readonly VariantEntry[], catalog: Catalog): Finding[] {
  const path = ["models", model.id];
  return [
    ...(isUsed(model, catalog) ? [] : [unused(model)]),
    ...model.variants.flatMap((variant, index) =>
      RULES.flatMap((rule) => {
        const finding = rule({ model, variant, index, entry: entries[index] });
        return finding ? [{ ...finding, path: [...path, "variants", index, ...finding.path] }] : [];
      }),
    ),
  ];
}

interface Subject {
  model: CatalogModel;
  variant: Variant;
  index: number;
  entry: VariantEntry | undefined;
}

function isUsed({ id }: CatalogModel, { workerTypes }: Catalog): boolean {
  return [...workerTypes.values()].some(({ models }) => models.some(({ model }) => model.id === id));
}

function unused({ id }: CatalogModel): Finding {
  return {
    level: "warn",
    path: ["models", id],
    found: `no worker type has ${id}`,
    hint: "Add it to one, or remove it; only who asks for it by name gets it.",
  };
}

function splitFinding({ variant }: Subject): Finding | null {
  const problem = splitProblem(variant.architecture, variant.gpuCount);
  if (!problem) return null;
  const hint = "Correct gpuCount, or the architecture; this variant is never taken.";
  return { level: "fail", path: ["gpuCount"], found: problem, hint };
}

/** More than rounding, and the room that a shorter context leaves. */
const SHORTFALL = 0.8;

function needFinding({ model, variant }: Subject): Finding | null {
  const { gpuMemoryGb, needBytes, context } = smallestCard(variant, null, model.contextLength);
  if (needBytes === null) return null;
  const need = `needs ${(needBytes / GIB).toFixed(1)} GiB${context === null ? "" : ` with ${context} tokens`}`;
  const each = variant.gpuCount > 1 ? " on each of its GPUs" : "";
  if (gpuMemoryGb === null) {
    const found = `${need}${each}, more than any card has (${CARDS_GB.at(-1)} GB)`;
    return { level: "warn", path: [], found, hint: "Quantize it, or raise gpuCount." };
  }
  const { minGpuMemoryGb } = variant;
  if (minGpuMemoryGb === 0 || minGpuMemoryGb * 1e9 >= needBytes * SHORTFALL) return null;
  return {
    level: "warn",
    path: ["minGpuMemoryGb"],
    found: `declares ${minGpuMemoryGb} GB, and ${need}${each}, so a card of ${gpuMemoryGb} GB`,
    hint: "Correct minGpuMemoryGb, sizeBytes or the architecture; the larger of the two decides.",
  };
}

function contextFinding({ model, variant }: Subject): Finding | null {
  const most = variant.architecture?.maxContext ?? null;
  if (most === null || model.contextLength === null || model.contextLength <= most) return null;
  return {
    level: "warn",
    path: ["architecture", "maxContext"],
    found: `the model is said to take ${model.contextLength} tokens, this variant's architecture ${most}`,
    hint: "Correct contextLength of the model, or maxContext.",
  };
}

function engineFinding({ variant: { source, engine } }: Subject): Finding | null {
  if (source === "ollama" && engine !== "ollama") {
    const found = `${engine} does not read Ollama's store`;
    return { level: "fail", path: ["engine"], found, hint: "Set engine to ollama, or take the model from the hub." };
  }
  if (source === "ollama" || engine !== "ollama") return null;
  return {
    level: "warn",
    path: ["engine"],
    found: `Ollama reads its own store only, and not what comes from ${source}`,
    hint: "Take it by its Ollama name (hf.co/org/name:Q4_K_M), or bring it there with `muster import-gguf`.",
  };
}

function pickleFinding({ variant }: Subject): Finding | null {
  const isPinned = /^[0-9a-f]{40}$/.test(variant.revision);
  if (!variant.allowPickle || isPinned || variant.source !== "huggingface") return null;
  return {
    level: "warn",
    path: ["allowPickle"],
    found: `allows pickles from ${variant.revision}, which its publisher may change at any time`,
    hint: "Pin `revision` to the commit that you trust: loading a pickle can run code.",
  };
}

function sizeFinding({ variant }: Subject): Finding | null {
  if (variant.sizeBytes !== null) return null;
  return {
    level: "warn",
    path: [],
    found: "says nothing of its size, so without a network nobody knows whether it fits",
    hint: "Add sizeBytes; `muster catalog add` finds it out.",
  };
}

/** Best first: what needs no less than one before it is never reached. */
function laterFinding({ model, variant, index }: Subject): Finding | null {
  const need = ({ minGpuMemoryGb, sizeBytes, gpuCount, engine }: Variant) =>
    sizeBytes === null ? null : { memory: Math.max(minGpuMemoryGb * 1e9, sizeBytes / gpuCount), gpuCount, engine };
  const own = need(variant);
  const before = model.variants.slice(0, index).find((earlier) => {
    const other = need(earlier);
    return own && other && other.engine === own.engine && other.gpuCount <= own.gpuCount && other.memory <= own.memory;
  });
  if (!before) return null;
  return {
    level: "warn",
    path: [],
    found: `is never taken: ${before.id} stands before it and needs no more`,
    hint: "Variants stand best first, and so the largest first; change their order, or remove one.",
  };
}

/** Fields of other sources are of no use. */
function fieldFinding({ variant, entry }: Subject): Finding | null {
  const own = LOCATION_FIELDS[variant.source];
  const other = Object.values(LOCATION_FIELDS).find((field) => field !== own && entry?.[field] !== undefined);
  if (other === undefined) return null;
  return {
    level: "warn",
    path: [other],
    found: `${other} is not looked at, because source is ${variant.source}`,
    hint: `Remove it, or correct source; ${own} says where the model is.`,
  };
}

const RULES = [
  ...[splitFinding, needFinding, contextFinding, engineFinding],
  ...[pickleFinding, sizeFinding, laterFinding, fieldFinding],
];
