import { readFile } from "node:fs/promises";
import { join } from "node:path";

/** The container that this process runs in, as far as that can be told from within. */
export interface Container {
  runtime: "docker" | "podman" | "kubernetes" | "unknown";
  /** 64 hex digits, as `docker ps --no-trunc` shows them; null where nothing tells. */
  id: string | null;
}

/** Null on a host. `root`: where /proc and the marks of the runtimes are looked for. */
export async function ownContainer(root = "/", env: NodeJS.ProcessEnv = process.env): Promise<Container | null> {
  const read = (path: string) => readFile(join(root, path), "utf8").catch(() => null);
  const [docker, podman, mounts, cgroup] = await Promise.all(
    [".dockerenv", "run/.containerenv", "proc/self/mountinfo", "proc/self/cgroup"].map(read),
  );
  // Runtimes mount a container's resolv.conf and hostname from a folder that has its name.
  const [, id = null] =
    /containers\/([0-9a-f]{64})\//.exec(mounts ?? "") ??
    /^id="([0-9a-f]{64})"$/m.exec(podman ?? "") ??
    /[/:-]([0-9a-f]{64})(?:\.scope)?$/m.exec(cgroup ?? "") ??
    [];
  if (env.KUBERNETES_SERVICE_HOST) return { runtime: "kubernetes", id };
  if (podman !== null) return { runtime: "podman", id };
  if (docker !== null) return { runtime: "docker", id };
  return id !== null || env.container ? { runtime: "unknown", id } : null;
}
