import type { Hardware } from "../../hardware.ts";
import type { ModelSpec } from "../../model.ts";
import type { EngineUrls } from "../../settings/engine.ts";

/** What an engine that muster starts is started for. */
export interface EnginePlan {
  models: readonly ModelSpec[];
  hardware: Hardware;
  engineUrls: EngineUrls;
  /** Of the worker type. */
  engineSettings: Record<string, string | number | boolean>;
  /** By model id; those that are on the volume. */
  stored: ReadonlyMap<string, StoredFacts>;
}

/** What only the files of a model tell. */
export interface StoredFacts {
  /** What vLLM is pointed at: the folder, or the GGUF file in it. */
  path: string;
  /** The method that config.json names for weights that are quantized as they stand; null for none. */
  quantization: string | null;
  /** Of a LoRA adapter; null for other models. */
  loraRank: number | null;
}

/** Names that environment variables have; all others in a worker type's engineSettings are arguments of vLLM. */
const VARIABLE = /^[A-Z][A-Z0-9_]*$/;

export function settingVariables({ engineSettings }: Pick<EnginePlan, "engineSettings">): Record<string, string> {
  const variables = Object.entries(engineSettings).filter(([name]) => VARIABLE.test(name));
  return Object.fromEntries(
    variables.map(([name, value]) => [name, typeof value === "boolean" ? String(Number(value)) : String(value)]),
  );
}

export function settingArguments({ engineSettings }: Pick<EnginePlan, "engineSettings">) {
  return Object.entries(engineSettings).filter(([name]) => !VARIABLE.test(name));
}

/** Host and port of an engine on this machine; null where its URL does not tell. */
export function listenAddress(url: string | null): { host: string | null; port: number } | null {
  if (url === null || !URL.canParse(url)) return null;
  const { hostname, port, protocol } = new URL(url);
  // Whoever put TLS before it gave it another port.
  if (protocol !== "http:") return null;
  const host = hostname.replace(/^\[|\]$/g, "");
  return { host: /^(localhost|127(\.\d{1,3}){3}|::1)$/.test(host) ? host : null, port: Number(port || 80) };
}

/** The variables that show an engine only the GPUs its models were placed on; none where that is all of them. */
export function visibleGpus(models: readonly ModelSpec[], { gpus, gpuVendor }: Hardware): Record<string, string> {
  const chosen = [...new Set(models.flatMap((model) => model.gpus))]
    .sort((a, b) => a - b)
    .flatMap((at) => gpus[at] ?? []);
  if (chosen.length === 0 || chosen.length === gpus.length) return {};
  const list = chosen.map(({ mig, uuid, index }) => (mig ? uuid : index)).join(",");
  if (gpuVendor === "amd") return { HIP_VISIBLE_DEVICES: list };
  // By position, because vLLM takes no UUIDs there, and in the driver's order, which CUDA's own is not.
  return gpuVendor === "nvidia" ? { CUDA_DEVICE_ORDER: "PCI_BUS_ID", CUDA_VISIBLE_DEVICES: list } : {};
}
