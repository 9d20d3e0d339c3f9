import type { Config } from "../../config.ts";
import type { Hardware } from "../../hardware.ts";
import type { Check } from "./check.ts";

/** What vLLM and llama.cpp are built for today, CUDA 12, runs on no older driver. */
const OLDEST_DRIVER = 525;

/** Processors, memory, GPUs and their driver. */
export function checkHardware({ enableGpu }: Pick<Config, "enableGpu">, hardware: Hardware): Check[] {
  const { gpus, gpuVendor, cpu, memory, warnings, driverVersion } = hardware;
  const limit = memory.limitBytes === null ? "" : ", by the container's limit";
  const host = `${cpu.cores} CPU cores, ${(memory.totalBytes / 2 ** 30).toFixed(1)} GiB of memory${limit}`;
  const found = gpus.map(({ name, memoryTotalMiB }) => `${name} (${memoryTotalMiB ?? "?"} MiB)`).join(", ");
  const missing = gpus.length === 0 && enableGpu === "true";
  const isOld = gpuVendor === "nvidia" && Number.parseInt(driverVersion ?? "", 10) < OLDEST_DRIVER;
  const old = `Driver ${driverVersion} is too old for CUDA 12: install ${OLDEST_DRIVER} or newer on the host (\`apt-get install nvidia-driver-570\`), and reboot it.`;
  const trouble = [...warnings, ...(isOld ? [old] : [])];
  return [
    { name: "hardware", result: "ok", found: host },
    {
      name: "gpu",
      result: missing ? "fail" : trouble.length > 0 ? "warn" : "ok",
      found: gpus.length > 0 ? `${found}, driver ${driverVersion ?? "unknown"}` : "none",
      hint: trouble.join(" ") || (missing ? "Start the container with --gpus all, or set ENABLE_GPU=auto." : undefined),
    },
  ];
}
