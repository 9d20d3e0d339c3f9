import { licenseNotice } from "../content-policy.ts";
import { MusterError } from "../errors.ts";
import type { Hardware } from "../hardware.ts";
import type { ModelSpec, Variant, VariantFacts } from "../model.ts";
import type { Condition } from "./catalog-schema.ts";
import { type ObjectTo, objectionWithAdapters } from "./content-objection.ts";
import { type Placement, place, type Reserved, totalBytes } from "./placement.ts";
import { dedupe, leftOut, type Refusal, refusal, unwanted } from "./refusals.ts";
import { type PlacedModel, shareOut } from "./share-out.ts";
import type { Catalog, ModelReference, WorkerType } from "./worker-types.ts";

export interface SelectInput {
  catalog: Catalog;
  workerType: WorkerType;
  hardware: Hardware;
  enableGpu: "auto" | "true" | "false";
  /** Replaces the worker type's own floor. */
  minGpuMemoryGb: number | null;
  /** What is known of a variant beforehand; null where nothing is. */
  factsOf: (variant: Variant) => VariantFacts | null;
  /** What the operator's policy says against a variant; left out: nothing. */
  objectTo?: ObjectTo;
}

export interface Selection {
  workerType: WorkerType;
  /** Required models first. */
  models: ModelSpec[];
  refused: Refusal[];
  /** What the operator should hear: a fallback that was taken, an optional model left out. */
  notices: string[];
}

/**
 * The models for this machine, each in the first variant that fits beside the others. Where a required one fits in no
 * combination, the fallback worker type is tried. Throws GPU_REQUIRED or NOTHING_FITS with need and have.
 */
export function selectModels(input: SelectInput): Selection {
  const notices: string[] = [];
  const refused: Refusal[] = [];
  let type: WorkerType = input.workerType;
  for (;;) {
    const attempt = selectForType(input, type);
    if ("models" in attempt)
      return { ...attempt, refused: [...refused, ...attempt.refused], notices: [...notices, ...attempt.notices] };
    refused.push(...attempt.refused);
    const fallback = type.fallback ? input.catalog.workerTypes.get(type.fallback) : undefined;
    // Who insists on a GPU is not served by a worker type without one.
    if (!fallback || (input.enableGpu === "true" && fallback.gpu === "none")) throw attempt.error;
    notices.push(`Worker type ${type.id} cannot run here (${attempt.why}); falling back to ${fallback.id}`);
    type = fallback;
  }
}

interface Failure {
  why: string;
  error: MusterError;
  refused: Refusal[];
}

function selectForType(input: SelectInput, type: WorkerType): Selection | Failure {
  const gpus = usableGpus(input, type);
  if (gpus.length === 0) {
    const why = gpuShortage(input, type);
    if (type.gpu === "required" || (type.gpu === "preferred" && input.enableGpu === "true")) return gpuFailure(why);
  }
  const wanted = type.models.filter(({ when }) => holds(when, input.hardware, gpus));
  const required = wanted.filter(({ optional }) => !optional);
  const optional = wanted.filter((reference) => reference.optional);
  const refused: Refusal[] = [];
  let taken = placeAll(input, required, startRoom(gpus, refused));
  if (!taken) return fitFailure(input, type, { required, refused });
  const kept = [...required];
  const notices: string[] = [];
  for (const reference of optional) {
    // Placed anew together: a smaller variant of one before it may make room.
    const together = placeAll(input, [...kept, reference], startRoom(gpus, refused));
    if (together) {
      taken = together;
      kept.push(reference);
    } else {
      const last = dedupe(refused).findLast(({ model }) => model === reference.model.id);
      notices.push(`Optional model ${reference.model.id} is left out: ${last?.reason ?? "it does not fit"}`);
    }
  }
  const models = shareOut(taken.models, input.hardware, type.slots);
  for (const { model } of kept) {
    const variant = models.find(({ id }) => id === model.id)?.variant;
    const objection = variant && objectionWithAdapters(input.objectTo, model, variant);
    if (objection) notices.push(licenseNotice(objection.error));
  }
  return { workerType: type, models, refused: leftOut(kept, models, dedupe(refused)), notices };
}

/** Placements tried for one set of models. A catalog with very many variants ends with fewer models, not with a hang. */
const MOST_ATTEMPTS = 5_000;

function startRoom(gpus: number[], refused: Refusal[]): Room {
  return { gpus, reserved: new Map(), refused, attempts: { left: MOST_ATTEMPTS } };
}

interface Placed {
  models: PlacedModel[];
  reserved: Reserved;
}

interface Room {
  gpus: number[];
  reserved: Reserved;
  refused: Refusal[];
  attempts: { left: number };
}

/** Depth first over the variants, best first, so that an earlier model gives way to let a later one in. */
function placeAll(input: SelectInput, references: ModelReference[], room: Room): Placed | null {
  const [reference, ...rest] = references;
  if (!reference) return { models: [], reserved: room.reserved };
  for (const variant of reference.model.variants) {
    room.attempts.left -= 1;
    if (room.attempts.left < 0) return null;
    const objection = objectionWithAdapters(input.objectTo, reference.model, variant);
    if (objection?.refused) {
      room.refused.push(refusal(reference, variant, unwanted(objection.error)));
      continue;
    }
    const placement = place({
      variant,
      facts: input.factsOf(variant),
      adapterBytes: adapterBytes(variant, input.factsOf),
      context: reference.context,
      maxContext: reference.model.contextLength,
      hardware: input.hardware,
      gpus: room.gpus,
      reserved: room.reserved,
    });
    if (!placement.ok) {
      room.refused.push(refusal(reference, variant, placement));
      continue;
    }
    const others = placeAll(input, rest, { ...room, reserved: placement.reserved });
    if (others) {
      return { models: [...toSpecs(reference, variant, placement), ...others.models], reserved: others.reserved };
    }
  }
  return null;
}

/** The model, and its adapters behind it. */
export function toSpecs(reference: ModelReference, variant: Variant, placement: Placement): PlacedModel[] {
  const { id, task, license, gated, prompts } = reference.model;
  const { context, gpus, need, reason } = placement;
  const required = !reference.optional;
  const common = { task, required, context, slots: reference.slots, gpus, prompts };
  return [
    { ...common, id, license, gated, variant, need, adapterOf: null, reason },
    ...variant.adapters.map((adapter) => ({
      ...common,
      ...adapter,
      gated: false,
      // Ollama loads the model once more for each of its adapters.
      need: variant.engine === "ollama" ? need : null,
      adapterOf: id,
      reason: `goes with ${id}`,
    })),
  ];
}

/** vLLM keeps all adapters beside the model, Ollama one. */
export function adapterBytes({ adapters, engine }: Variant, factsOf: SelectInput["factsOf"]): number {
  const sizes = adapters.map(({ variant }) => factsOf(variant)?.weightsBytes ?? variant.sizeBytes ?? 0);
  return engine === "ollama" ? Math.max(0, ...sizes) : sizes.reduce((sum, size) => sum + size, 0);
}

export function usableGpus({ hardware, enableGpu, minGpuMemoryGb }: SelectInput, type: WorkerType): number[] {
  if (type.gpu === "none" || enableGpu === "false") return [];
  const floor = (minGpuMemoryGb ?? type.minGpuMemoryGb) * 1e9;
  return hardware.gpus.flatMap((gpu, index) => ((totalBytes(gpu) ?? Number.POSITIVE_INFINITY) >= floor ? [index] : []));
}

function gpuShortage({ hardware, enableGpu, minGpuMemoryGb }: SelectInput, type: WorkerType): string {
  if (enableGpu === "false") return "ENABLE_GPU is false";
  if (hardware.gpus.length === 0) return ["no GPU was found", ...hardware.warnings].join("; ");
  const largest = Math.max(...hardware.gpus.map((gpu) => totalBytes(gpu) ?? 0));
  return `the largest GPU has ${(largest / 1e9).toFixed(1)} GB, ${minGpuMemoryGb ?? type.minGpuMemoryGb} GB are the least`;
}

function gpuFailure(why: string): Failure {
  const error = new MusterError("GPU_REQUIRED", `A GPU is required and none can be used: ${why.replace(/\.$/, "")}.`, {
    hint: "Start the container with --gpus all (muster doctor says what it sees), lower MIN_GPU_MEMORY_GB, or set ENABLE_GPU=auto to fall back to the CPU worker type.",
  });
  return { why, error, refused: [] };
}

function fitFailure(
  { objectTo }: SelectInput,
  type: WorkerType,
  { required, refused }: { required: ModelReference[]; refused: Refusal[] },
): Failure {
  const lines = dedupe(refused).map(({ model, variant, reason }) => `  ${model} as ${variant}: ${reason}`);
  const impossible = required.find(({ model: { id, variants } }) =>
    variants.every((variant) => refused.some((each) => each.model === id && each.variant === variant.id)),
  );
  const objections =
    impossible?.model.variants.map((each) => objectionWithAdapters(objectTo, impossible.model, each)) ?? [];
  if (objections.length > 0 && objections.every((each) => each?.refused)) {
    const { error } = objections[0]!;
    return { why: `${impossible?.model.id} is refused: ${error.message}`, error, refused: dedupe(refused) };
  }
  const error = new MusterError(
    "NOTHING_FITS",
    `The models of worker type ${type.id} do not fit this machine:\n${lines.join("\n")}`,
    {
      hint: "Use a larger GPU, add a smaller variant to the catalog, or give the worker type a fallback; `muster plan` shows the whole reckoning.",
      details: { refused: dedupe(refused) },
    },
  );
  return {
    why: `${impossible?.model.id ?? "a required model"} does not fit`,
    error,
    refused: dedupe(refused),
  };
}

function holds(when: Condition, hardware: Hardware, gpus: number[]): boolean {
  const sizes = gpus.map((index) => totalBytes(hardware.gpus[index]) ?? 0);
  const largest = Math.max(0, ...sizes) / 1e9;
  const total = sizes.reduce((sum, size) => sum + size, 0) / 1e9;
  return (
    largest >= (when.minGpuMemoryGb ?? 0) &&
    largest < (when.maxGpuMemoryGb ?? Number.POSITIVE_INFINITY) &&
    total >= (when.minTotalGpuMemoryGb ?? 0) &&
    total < (when.maxTotalGpuMemoryGb ?? Number.POSITIVE_INFINITY) &&
    gpus.length >= (when.minGpuCount ?? 0) &&
    hardware.memory.totalBytes >= (when.minMemoryGb ?? 0) * 1e9 &&
    (when.gpu === undefined || when.gpu === gpus.length > 0)
  );
}
