import type { ModelSpec } from "../../model.ts";
import { type EnginePlan, listenAddress, type StoredFacts, settingArguments } from "./engine-plan.ts";
import { type GivenArguments, readArguments, readVllmCommand, type VllmCommand } from "./given-arguments.ts";

/** How vLLM is started for a plan. Pure. Flags are those of vLLM 0.10.1 and newer. */

export interface VllmStart {
  command: [string, ...string[]];
  /** The model it serves, its adapters behind it; none where the operator named one that is not in the plan. */
  serves: ModelSpec[];
  /** What the operator should hear. */
  notices: string[];
}

/** A flag with its values; none for one that stands alone. */
type Flag = [name: string, ...values: (string | number)[]];

/** The operator's command with what the plan adds; what he gave himself is never added. Null for another engine's command. */
export function vllmStart(command: readonly string[], plan: EnginePlan): VllmStart | null {
  const read = readVllmCommand(command);
  if (!read) return null;
  const given = readArguments(read.args);
  const models = plan.models.filter(({ variant, adapterOf }) => variant.engine === "vllm" && adapterOf === null);
  const model = given.model === null ? models[0] : models.find((each) => isCalled(each, given.model ?? "", plan));
  const settings = settingArguments(plan).map(toFlag);
  if (!model) {
    const notice =
      given.model === null
        ? "The plan has no model for vLLM, so that it starts with its own defaults"
        : `vLLM is started with ${given.model}, which is not in the plan: nothing is derived for it`;
    return { command: compose(read, { added: missing(settings, given) }), serves: [], notices: [notice] };
  }
  const others = models.filter((each) => each !== model).map(({ id }) => id);
  if (given.valueOf("config") !== null) {
    const notices = [...unserved(others), "vLLM has a --config of its own: nothing is derived from the plan"];
    return { command: [...command] as [string, ...string[]], serves: [model], notices };
  }
  const adapters = plan.models.filter(({ adapterOf }) => adapterOf === model.id);
  const lora = given.valueOf("no-enable-lora") === null ? loraFlags(adapters, plan) : { flags: [], notices: [] };
  const derived = [...flagsOf(model, plan, given), ...lora.flags];
  const added = missing(
    [...settings, ...derived.filter(([name]) => !settings.some((each) => isSame(each[0], name)))],
    given,
  );
  return {
    command: compose(read, { model: given.model === null ? pathOf(model, plan) : null, added }),
    serves: [model, ...adapters],
    notices: [...unserved(others), ...lora.notices],
  };
}

function flagsOf(model: ModelSpec, plan: EnginePlan, given: GivenArguments): Flag[] {
  const { variant, context, share, task } = model;
  const address = listenAddress(plan.engineUrls.vllm);
  const isPooling = task === "embedding" || task === "rerank";
  const quantization = quantizationFlag(model, plan.stored.get(model.id));
  const splitsOtherwise = ["pipeline-parallel-size", "data-parallel-size"].some((name) => given.valueOf(name) !== null);
  return [
    ["served-model-name", model.id],
    ...flag("host", address?.host),
    ...flag("port", address?.port),
    ...flag("max-model-len", context),
    ...flag("gpu-memory-utilization", share.gpuMemory),
    ...flag("tensor-parallel-size", variant.gpuCount > 1 && !splitsOtherwise ? variant.gpuCount : null),
    ...flag("quantization", quantization),
    // Until 0.10.1 this was --task embed.
    ...flag("runner", isPooling && given.valueOf("task") === null ? "pooling" : null),
    // A job may embed many texts, each of which is a sequence.
    ...flag("max-num-seqs", isPooling ? null : share.sequences),
  ];
}

function flag(name: string, value: string | number | null | undefined): Flag[] {
  return value === null || value === undefined ? [] : [[name, value]];
}

/** Methods by which vLLM quantizes plain weights while it loads them. */
const IN_FLIGHT = ["fp8", "bitsandbytes"];

/**
 * vLLM reads from config.json how weights are quantized, and picks its fastest kernels for that; told `gptq` or `awq` it
 * takes slower ones, and told another word than config.json has it does not start. So it is told only what is to be done.
 */
function quantizationFlag({ variant }: ModelSpec, stored: StoredFacts | undefined): string | null {
  const wanted = variant.quantization?.toLowerCase() ?? "";
  return stored && stored.quantization === null && IN_FLIGHT.includes(wanted) ? wanted : null;
}

/** Ranks that vLLM takes for --max-lora-rank. */
const RANKS = [8, 16, 32, 64, 128, 256, 320, 512];

function loraFlags(adapters: ModelSpec[], { stored }: EnginePlan): { flags: Flag[]; notices: string[] } {
  const ranked = adapters.flatMap(({ id }) => {
    const { path, loraRank } = stored.get(id) ?? {};
    return path === undefined || loraRank == null ? [] : [{ id, path, rank: loraRank }];
  });
  const rank = Math.max(0, ...ranked.map((each) => each.rank));
  const notices = adapters
    .filter(({ id }) => !ranked.some((each) => each.id === id))
    .map(({ id }) =>
      stored.has(id)
        ? `${id} is left out: its adapter_config.json names no rank`
        : `${id} is left out for as long as it is not on the volume`,
    );
  if (ranked.length === 0) return { flags: [], notices };
  const flags: Flag[] = [
    ["enable-lora"],
    ["max-loras", ranked.length],
    ["max-lora-rank", RANKS.find((each) => each >= rank) ?? rank],
    ["lora-modules", ...ranked.map(({ id, path }) => `${id}=${path}`)],
  ];
  return { flags, notices };
}

function toFlag([name, value]: [string, string | number | boolean]): Flag {
  const plain = name.replaceAll("_", "-");
  if (typeof value !== "boolean") return [plain, value];
  return [value ? plain : `no-${plain}`];
}

/** Those that the operator did not give, neither so nor as their opposite. */
function missing(flags: Flag[], given: GivenArguments): Flag[] {
  return flags.filter(([name]) =>
    [plainName(name), `no-${plainName(name)}`].every((each) => given.valueOf(each) === null),
  );
}

function isSame(one: string, other: string): boolean {
  return plainName(one) === plainName(other);
}

function plainName(name: string): string {
  return name.replace(/^no-/, "");
}

function compose(
  { head, args, modelBy }: VllmCommand,
  { model, added }: { model?: string | null; added: Flag[] },
): [string, ...string[]] {
  const named = model ? (modelBy === "position" ? [model] : ["--model", model]) : [];
  return [...head, ...named, ...args, ...added.flatMap(([name, ...values]) => [`--${name}`, ...values.map(String)])];
}

/** Where it stands, or until it does, what its source calls it. */
function pathOf({ id, variant }: ModelSpec, { stored }: EnginePlan): string {
  return stored.get(id)?.path ?? variant.location;
}

function isCalled(model: ModelSpec, name: string, plan: EnginePlan): boolean {
  return [model.id, model.variant.location, pathOf(model, plan)].includes(name.replace(/\/+$/, ""));
}

function unserved(ids: string[]): string[] {
  if (ids.length === 0) return [];
  return [`vLLM serves one model a process: ${ids.join(", ")} need a server of their own`];
}
