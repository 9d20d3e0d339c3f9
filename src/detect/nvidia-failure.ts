import type { ToolFailure } from "./run-tool.ts";
import { describeToolFailure } from "./tool-failure.ts";

interface Cause {
  /** What nvidia-smi says; looked at first, since wrappers keep the text more often than the exit code. */
  text: RegExp;
  exitCodes: number[];
  advice: string;
}

const CONTAINER =
  "start the container with --gpus all (nvidia-container-toolkit installed on the host) and " +
  "NVIDIA_DRIVER_CAPABILITIES=compute,utility";

const causes: Cause[] = [
  {
    text: /Driver\/library version mismatch/i,
    exitCodes: [18],
    advice:
      "The NVIDIA driver was updated while the old one is still loaded (Driver/library version mismatch): reboot the " +
      "host, or unload and load its nvidia modules, then start this container anew.",
  },
  {
    text: /couldn't communicate with the NVIDIA driver/i,
    exitCodes: [9],
    advice: `nvidia-smi couldn't communicate with the NVIDIA driver: install or load it on the host, and ${CONTAINER}.`,
  },
  {
    text: /Insufficient Permissions/i,
    exitCodes: [4],
    advice:
      "nvidia-smi has Insufficient Permissions to ask the driver: give this user /dev/nvidia* (mode 0666 or group " +
      `video), check seccomp and SELinux, and ${CONTAINER}.`,
  },
  {
    text: /couldn't find libnvidia-ml|NVML Shared Library/i,
    exitCodes: [12],
    advice: `nvidia-smi is here but libnvidia-ml.so is not: ${CONTAINER}.`,
  },
  {
    text: /Failed to initialize NVML: Unknown Error/i,
    exitCodes: [],
    advice:
      "This container lost its access to the GPUs (Failed to initialize NVML: Unknown Error), as happens when systemd " +
      "reloads on the host: restart the container, and use the cgroupfs driver or CDI so that it does not come back.",
  },
  {
    text: /GPU is lost|fallen off the bus|Unable to determine the device handle/i,
    exitCodes: [15],
    advice: "A GPU has fallen off the bus (GPU is lost): look for Xid lines in the host's dmesg and reboot the host.",
  },
  {
    text: /No devices were found/i,
    exitCodes: [6],
    advice: `nvidia-smi works but shows no GPU (No devices were found): ${CONTAINER}; on the host, look at dmesg.`,
  },
  {
    text: /infoROM is corrupted/i,
    exitCodes: [14],
    advice:
      "nvidia-smi says that the infoROM of a GPU is corrupted; the GPU usually works on, but have it looked after.",
  },
];

/** Why nvidia-smi failed, and what to do about it. */
export function explainNvidiaFailure(failure: ToolFailure): string {
  if (failure.kind === "missing")
    return `${describeToolFailure("nvidia-smi", failure)} To use NVIDIA GPUs, ${CONTAINER}.`;
  if (failure.kind === "timeout") return describeToolFailure("nvidia-smi", failure);
  // Not within a report: "[Insufficient Permissions]" is a usual name of a foreign process there.
  const said = `${failure.stderr}\n${failure.stdout.replace(/<\?xml[\s\S]*<\/nvidia_smi_log>/, "")}`;
  const cause =
    causes.find(({ text }) => text.test(said)) ??
    causes.find(({ exitCodes }) => failure.exitCode !== null && exitCodes.includes(failure.exitCode));
  return cause?.advice ?? describeToolFailure("nvidia-smi", { ...failure, stdout: "", stderr: said });
}
