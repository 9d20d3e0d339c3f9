import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { execa } from "execa";

/**
 * The project's images, built for real by podman. Bases come by the Dockerfiles' own arguments: Debian and Node as this
 * machine has them under these names (nothing is pulled), and images that hold a fake `ollama` or `vllm`.
 */

const ROOT = join(import.meta.dirname, "../..");
const NODE = "docker.io/library/node:26-bookworm-slim";
const DEBIAN = "docker.io/library/debian:bookworm-slim";
const OLLAMA = "localhost/muster-test-ollama";
const VLLM = "localhost/muster-test-vllm";

/** Arguments of both Dockerfiles. */
export const BASES = { NODE_IMAGE: NODE, BASE_IMAGE: DEBIAN, OLLAMA_IMAGE: OLLAMA };
/** What every build needs here. HEALTHCHECK is Docker's; the other format has no place for it. */
export const BUILD_FLAGS = ["--isolation=chroot", "--network=host", "--pull=never", "--format=docker", "--timestamp=0"];

export type Target = "worker" | "ocr" | "embedding" | "vllm";
export type Device = "cpu" | "gpu";

/** Why no image can be built here, or null. */
export function whyNoImages(): string | null {
  if (spawnSync("podman", ["--version"]).status !== 0) return "podman is not installed";
  if (process.getuid?.() !== 0) return "only root can run containers with what podman has here";
  const lacking = [NODE, DEBIAN].filter((image) => spawnSync("podman", ["image", "exists", image]).status !== 0);
  return lacking.length > 0 ? `podman has no ${lacking.join(" and no ")}` : null;
}

/** Builds (or finds built) an image and gives its name. */
export async function buildImage(device: Device, target: Target, options: { noCache?: boolean } = {}): Promise<string> {
  const name = `localhost/muster-test-${device}:${target}`;
  const bases = { ...BASES, ...(device === "gpu" && { VLLM_IMAGE: VLLM }) };
  const flags = Object.entries(bases).map(([argument, value]) => `--build-arg=${argument}=${value}`);
  if (options.noCache) flags.push("--no-cache");
  // The default target is the last one, as for anybody who names none.
  if (target !== "worker") flags.push(`--target=${target}`);
  await podmanBuild([...flags, "--file", join(ROOT, `Dockerfile.${device}`), "--tag", name, ROOT]);
  return name;
}

/** Of the one layer that holds the agent and its Node.js. */
export async function agentLayerBytes(image: string): Promise<number> {
  const { stdout } = await execa("podman", ["history", "--format", "json", image]);
  const layers = JSON.parse(stdout) as { CreatedBy: string; size: number }[];
  const [layer, ...others] = layers.filter(
    ({ CreatedBy, size }) => / COPY dir:\w+ in \/ $/.test(CreatedBy) && size > 0,
  );
  if (!layer || others.length > 0) throw new Error(`${image} has no one layer of the agent:\n${stdout}`);
  return layer.size;
}

/** What the Dockerfiles take engines from: the fakes, each bundled into a program of its own. */
export async function buildEngines(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "muster-engines-"));
  try {
    await bundle("ollama", join(folder, "ollama", "usr/bin/ollama"));
    await mkdir(join(folder, "ollama", "usr/lib/ollama"), { recursive: true });
    await writeFile(join(folder, "ollama", "usr/lib/ollama/libggml-base.so"), "");
    await writeFile(join(folder, "ollama.Dockerfile"), "FROM scratch\nCOPY ollama/ /\n");
    await bundle("vllm", join(folder, "vllm", "usr/local/bin/vllm"));
    // As the real one: it runs as root and serves by itself unless it is told otherwise.
    const vllm = `FROM ${DEBIAN}\nCOPY vllm/usr/local/bin/vllm /usr/local/bin/vllm\nENTRYPOINT ["vllm", "serve"]\n`;
    await writeFile(join(folder, "vllm.Dockerfile"), vllm);
    for (const [engine, name] of [
      ["ollama", OLLAMA],
      ["vllm", VLLM],
    ]) {
      await podmanBuild(["--file", join(folder, `${engine}.Dockerfile`), "--tag", name!, folder]);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function bundle(engine: string, outfile: string): Promise<void> {
  await build({
    entryPoints: [join(import.meta.dirname, "engines", `${engine}.ts`)],
    outfile,
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node26",
    // The only Node.js in these images is the agent's.
    banner: { js: "#!/opt/muster/bin/node" },
    logLevel: "warning",
  });
  await execa("chmod", ["755", outfile]);
}

async function podmanBuild(args: string[]): Promise<void> {
  const { exitCode, all } = await execa("podman", ["build", ...BUILD_FLAGS, ...args], { all: true, reject: false });
  if (exitCode !== 0) throw new Error(`podman build ${args.join(" ")} failed:\n${all}`);
}
