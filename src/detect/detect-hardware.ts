import type { Gpu, GpuVendor, Hardware } from "../hardware.ts";
import { detectAmd } from "./amd.ts";
import { readHost } from "./host.ts";
import { detectIntel } from "./intel.ts";
import { detectNvidia } from "./nvidia.ts";
import type { ProbeContext, Roots, VendorReport, VisibilityEnv } from "./probe.ts";

export interface DetectOptions {
  /** "false" asks no vendor; "true" warns where nothing usable is found; "auto" takes what is there. */
  enableGpu: "auto" | "true" | "false";
  env: VisibilityEnv;
  signal?: AbortSignal;
  /** For tests: other folders than /sys, /proc and /dev. */
  roots?: Partial<Roots>;
  /** How vendor tools are run: the PATH to look them up in, and how long one may take. */
  tools?: { path?: string; timeoutMs?: number };
}

const TOOL_TIMEOUT_MS = 15_000;
const vendorNames: Record<GpuVendor, string> = { nvidia: "NVIDIA", amd: "AMD", intel: "Intel" };

/**
 * What this worker runs on. Vendors are asked side by side, and the first of NVIDIA, AMD and Intel with a usable GPU is
 * taken. Tools that are missing, fail or hang end as warnings; only the signal's reason is thrown.
 */
export async function detectHardware(options: DetectOptions): Promise<Hardware> {
  const { enableGpu, env, signal, tools } = options;
  signal?.throwIfAborted();
  const roots: Roots = { sys: "/sys", proc: "/proc", dev: "/dev", ...options.roots };
  const context: ProbeContext = { env, roots, signal, tools: { timeoutMs: TOOL_TIMEOUT_MS, ...tools } };

  const probes = enableGpu === "false" ? [] : [detectNvidia, detectAmd, detectIntel];
  const [host, ...reports] = await Promise.all([readHost(roots), ...probes.map((probe) => probe(context))]);
  signal?.throwIfAborted();

  const usable = reports.filter((report) => report.gpus.length > 0);
  const chosen = usable[0] ?? reports.find((report) => report.driverVersion !== null);
  const warnings = reports.flatMap((report) => report.warnings);
  if (usable.length > 1) warnings.push(severalVendors(usable));
  if (enableGpu === "true" && usable.length === 0) {
    warnings.push("ENABLE_GPU=true, but no usable GPU was found (nvidia-smi, amd-smi, rocm-smi, xpu-smi, sysfs).");
  }
  return {
    gpus: usable[0]?.gpus ?? [],
    gpuVendor: usable[0]?.vendor ?? null,
    driverVersion: chosen?.driverVersion ?? null,
    runtimeVersion: chosen?.runtimeVersion ?? null,
    ...host,
    warnings,
  };
}

function severalVendors(usable: VendorReport[]): string {
  const [first, ...others] = usable.map((report) => `${vendorNames[report.vendor]} (${describe(report.gpus)})`);
  return `GPUs of several vendors are usable: ${first} is used, not ${others.join(" and ")}.`;
}

function describe(gpus: Gpu[]): string {
  return gpus.map((gpu) => gpu.name).join(", ");
}
