import { readFile, statfs } from "node:fs/promises";
import { join } from "node:path";
import type { Config } from "../../config.ts";
import type { Container } from "../../container.ts";
import type { Hardware } from "../../hardware.ts";
import { type Check, SYSTEM } from "./check.ts";

/** vLLM's processes, one a GPU, meet in shared memory; Docker gives 64 MB of it. */
const SHARED_MEMORY = 1 << 30;
/** Connections, files and an engine's own. */
const OPEN_FILES = 4096;

/** What the runtime was told when it started this container, as far as it matters here. */
export async function checkContainer(
  { enableGpu }: Pick<Config, "enableGpu">,
  container: Container | null,
  { gpus }: Pick<Hardware, "gpus">,
  { proc, dev } = SYSTEM,
): Promise<Check[]> {
  const limits = await readFile(join(proc, "self/limits"), "utf8").catch(() => "");
  const files = Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
  const driver = await readFile(join(proc, "driver/nvidia/version"), "utf8").catch(() => null);
  const shared = await statfs(join(dev, "shm")).catch(() => null);
  const name = "container";
  const user = `user ${process.getuid?.() ?? "?"}:${process.getgid?.() ?? "?"}`;
  const what = container ? `${container.runtime === "unknown" ? "some container" : container.runtime}` : "none, a host";
  const found = `${what}${container?.id ? ` ${container.id.slice(0, 12)}` : ""}, ${user}`;
  const checks: Check[] = [];
  if (container && driver !== null && gpus.length === 0 && enableGpu !== "false") {
    const version = / (\d+(?:\.\d+)+) /.exec(driver)?.[1] ?? "unknown";
    const hint = {
      kubernetes:
        "Ask for them: `resources: { limits: { nvidia.com/gpu: 1 } }`, with NVIDIA's device plugin on the node.",
      podman: "Start it anew with `podman run --device nvidia.com/gpu=all …`.",
      docker: "Start it anew with `docker run --gpus all …`.",
      unknown: "Start it anew with its GPUs: `docker run --gpus all …`.",
    }[container.runtime];
    checks.push({
      name,
      result: "warn",
      found: `the host has NVIDIA driver ${version}, and gave this container no GPU`,
      hint,
    });
  }
  const bytes = shared && shared.blocks * shared.bsize;
  if (container && bytes !== null && bytes < SHARED_MEMORY && gpus.length > 1) {
    const hint =
      container.runtime === "kubernetes"
        ? "Mount an `emptyDir: { medium: Memory }` at /dev/shm."
        : "Start it anew with `--ipc=host` or `--shm-size=8g`.";
    const size = `/dev/shm has ${Math.round(bytes / 2 ** 20)} MiB, which is too little for vLLM on ${gpus.length} GPUs`;
    checks.push({ name, result: "warn", found: size, hint });
  }
  if (files < OPEN_FILES) {
    const hint = `Raise it: \`ulimit -n 65536\`, or \`docker run --ulimit nofile=65536 …\`.`;
    checks.push({ name, result: "warn", found: `only ${files} files may be open at once`, hint });
  }
  return checks.length > 0 ? checks : [{ name, result: "ok", found }];
}
