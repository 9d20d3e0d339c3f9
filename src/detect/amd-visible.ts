import type { Gpu } from "../hardware.ts";
import { takeListed } from "./listed-devices.ts";
import type { VisibilityEnv } from "./probe.ts";

/**
 * The AMD GPUs a process here can use. ROCR_VISIBLE_DEVICES (positions, or GPU-… of the chip's serial) is read first,
 * set but empty it hides all; HIP_VISIBLE_DEVICES counts within what is left. As in HIP, CUDA_VISIBLE_DEVICES stands in
 * for an unset or empty HIP_VISIBLE_DEVICES, and two empty ones hide nothing.
 */
export function visibleAmdGpus(shown: Gpu[], env: VisibilityEnv): { gpus: Gpu[]; warnings: string[] } {
  const warnings: string[] = [];
  const afterRocr = narrow(shown, "ROCR_VISIBLE_DEVICES", env.rocrVisibleDevices, warnings);
  const [name, value] = env.hipVisibleDevices
    ? ["HIP_VISIBLE_DEVICES", env.hipVisibleDevices]
    : ["CUDA_VISIBLE_DEVICES", env.cudaVisibleDevices];
  return { gpus: narrow(afterRocr, name, value === "" ? undefined : value, warnings), warnings };
}

function narrow(gpus: Gpu[], name: string, value: string | undefined, warnings: string[]): Gpu[] {
  if (value === undefined || gpus.length === 0) return gpus;
  const { taken, stoppedAt } = takeListed(value, (entry) => {
    if (/^\d+$/.test(entry)) return gpus.slice(Number(entry), Number(entry) + 1);
    const wanted = entry.toLowerCase();
    const matched = /^gpu-./.test(wanted) ? gpus.filter((gpu) => gpu.uuid.toLowerCase().startsWith(wanted)) : [];
    return matched.length === 1 ? matched : [];
  });
  if (stoppedAt !== null && stoppedAt !== "-1" && stoppedAt !== "") {
    warnings.push(
      `${name}=${value}: "${stoppedAt}" names none of the ${gpus.length} GPUs here (positions count from 0), and ROCm ` +
        "ignores it and all that follows.",
    );
  }
  if (taken.length === 0) warnings.push(`${name}=${value} hides all AMD GPUs.`);
  return taken;
}
