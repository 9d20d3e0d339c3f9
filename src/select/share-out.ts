import type { Hardware } from "../hardware.ts";
import type { Slots } from "../job.ts";
import { JOB_KINDS, type ModelShare, type ModelSpec, takesKind } from "../model.ts";
import { type Need, VLLM_SHARE } from "./fit.ts";
import { CPU_SHARE, share, totalBytes } from "./placement.ts";

/** A model with its place, and the bytes per GPU (or of main memory) that it was reckoned to need there. */
export type PlacedModel = Omit<ModelSpec, "share"> & { need: Need | null };

/**
 * What each model's engine is to take of the machine. A vLLM model alone on its GPUs gets what vLLM may take altogether,
 * one beside others what it needs. Ollama has one number of sequences for all its models: as many as there are slots, and
 * memory for.
 */
export function shareOut(placed: readonly PlacedModel[], hardware: Hardware, slots: Slots): ModelSpec[] {
  const parallel = ollamaSequences(placed, hardware, slots);
  return placed.map(({ need, ...model }) => {
    const isOllama = model.variant.engine === "ollama";
    const sequences = isOllama && !isParallel(model) ? 1 : isOllama ? parallel : slotsOf(model, slots);
    return { ...model, share: { gpuMemory: gpuShare({ ...model, need }, placed, hardware), sequences } };
  });
}

/** Ollama embeds one text after another, whatever it is told. */
function isParallel({ task }: Pick<ModelSpec, "task">): boolean {
  return task !== "embedding";
}

/** Jobs on the model at once; null where nothing says. */
function slotsOf(model: Omit<PlacedModel, "need">, slots: Slots): number | null {
  const ofKinds = JOB_KINDS.filter((kind) => takesKind(model, kind)).reduce((sum, kind) => sum + (slots[kind] ?? 0), 0);
  return ofKinds === 0 ? model.slots : Math.min(ofKinds, model.slots ?? ofKinds);
}

/** Rounded down, so that shares never add up to more than was planned. */
const SHARE_STEPS = 10_000;

function gpuShare(model: PlacedModel, placed: readonly PlacedModel[], hardware: Hardware): ModelShare["gpuMemory"] {
  if (model.variant.engine !== "vllm" || model.gpus.length === 0 || model.adapterOf !== null) return null;
  const isBeside = (other: PlacedModel) =>
    other.id !== model.id && other.adapterOf !== model.id && other.gpus.some((gpu) => model.gpus.includes(gpu));
  if (!placed.some(isBeside)) return VLLM_SHARE;
  const totals = model.gpus.map((index) => totalBytes(hardware.gpus[index]));
  if (model.need === null || totals.some((total) => total === null)) return null;
  const smallest = Math.min(...totals.map((total) => total ?? 0));
  return Math.floor((model.need.total / smallest) * SHARE_STEPS) / SHARE_STEPS;
}

/** The most sequences with which Ollama's models fit into what is left, all of them loaded; null where no slots are told. */
function ollamaSequences(placed: readonly PlacedModel[], hardware: Hardware, slots: Slots): number | null {
  const models = placed.filter(({ variant }) => variant.engine === "ollama");
  const wanted = models.filter(isParallel).flatMap((model) => slotsOf(model, slots) ?? []);
  const places = Map.groupBy(models, ({ gpus }) => gpus[0] ?? null);
  const fits = (sequences: number) =>
    [...places].every(([gpu, here]) => {
      const room = roomFor(gpu, placed, hardware);
      const sum = (needs: number[]) => needs.reduce((all, need) => all + need, 0);
      const needs = here.map((model) => needOf(model, sequences));
      // Models that do not fit together take turns, and then each has the place alone.
      const together = sum(here.map((model) => needOf(model, 1))) <= room;
      return (together ? sum(needs) : Math.max(...needs)) <= room;
    });
  if (wanted.length === 0) return null;
  let most = Math.max(...wanted);
  while (most > 1 && !fits(most)) most -= 1;
  return most;
}

/** Ollama gives each sequence a KV cache of the whole context. */
function needOf({ need, task }: PlacedModel, sequences: number): number {
  if (!need) return 0;
  return need.total + (isParallel({ task }) ? (sequences - 1) * need.kv : 0);
}

function roomFor(gpu: number | null, placed: readonly PlacedModel[], hardware: Hardware): number {
  if (gpu === null) return hardware.memory.totalBytes * CPU_SHARE;
  const others = placed.filter(({ variant, gpus }) => variant.engine !== "ollama" && gpus.includes(gpu));
  const reserved = others.reduce((sum, { need }) => sum + (need?.total ?? 0), 0);
  return share({ engine: "ollama" }, totalBytes(hardware.gpus[gpu]) ?? Number.POSITIVE_INFINITY, reserved);
}
