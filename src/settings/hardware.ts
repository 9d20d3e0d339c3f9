import * as z from "zod";
import { setting } from "./setting.ts";
import { number, numbers, text } from "./values.ts";

/** Which GPUs a worker uses, and which are planned for. */

export const hardwareSettings = {
  ENABLE_GPU: setting("Hardware", z.stringFormat("mode", /^(auto|true|false|1|0)$/i), {
    description:
      "`true` refuses to start without a usable GPU, `false` ignores GPUs, `auto` falls back to the CPU worker type.",
    allowed: "auto, true or false",
    otherwise: "`auto`",
  }),
  MIN_GPU_MEMORY_GB: setting("Hardware", number, {
    description: "GPUs with less memory (in gigabytes, 10⁹ bytes) are not used.",
    allowed: "a number, 0 or more",
    otherwise: "that of the worker type",
  }),
  PLAN_GPU_MEMORY_GB: setting("Hardware", numbers, {
    description:
      "Gigabytes of each GPU of the machines that `muster sync --prefetch` fetches for: `24`, or `80,80` for two of them; 0 for none.",
    allowed: "numbers with commas between them",
    otherwise: "the GPUs of this machine, else one of 24 GB",
  }),
  NVIDIA_VISIBLE_DEVICES: setting("Hardware", text, {
    description: "GPUs this worker may see: indices, UUIDs, MIG UUIDs, all, none or void.",
    allowed: "a list",
    otherwise: "all",
  }),
  CUDA_VISIBLE_DEVICES: setting("Hardware", z.string(), {
    description: "GPUs the engine may see, among those visible: indices, UUIDs or MIG UUIDs.",
    allowed: "a list",
    otherwise: "all",
  }),
  ROCR_VISIBLE_DEVICES: setting("Hardware", text, {
    description: "AMD GPUs this worker may see.",
    allowed: "a list",
    otherwise: "all",
  }),
  HIP_VISIBLE_DEVICES: setting("Hardware", text, {
    description: "AMD GPUs the engine may see, among those visible.",
    allowed: "a list",
    otherwise: "all",
  }),
};
