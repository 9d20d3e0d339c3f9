import { spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { startCoordinator } from "../../src/coordinator/coordinator.ts";
import { createLogger } from "../../src/log.ts";

/**
 * First figures, written to docs/benchmarks.md: a cold fetch against curl in the same run, a warm sync, warm start to
 * registered, and memory at rest. Rounds are interleaved; medians and ratios are what to quote.
 */

const { values } = parseArgs({
  options: { mib: { type: "string", default: "1024" }, rounds: { type: "string", default: "3" } },
});
const [size, rounds] = [Number(values.mib) * 2 ** 20, Number(values.rounds)];
const root = join(import.meta.dirname, "..", "..");
const folder = await mkdtemp(join(tmpdir(), "muster-bench-"));
const figures: Record<string, Measured[]> = {};

interface Measured {
  wall: number;
  cpu: number;
  rssMib: number;
}

try {
  await build();
  const weights = join(folder, "weights");
  await writeRandom(weights);
  const hub = spawn(process.execPath, [join(import.meta.dirname, "hub-process.ts"), weights], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const { url } = JSON.parse(String(await once(createInterface({ input: hub.stdout }), "line"))) as { url: string };
  const catalog = join(folder, "worker-types.json");
  await writeFile(catalog, JSON.stringify(benchCatalog()));
  const env = {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    LOG_FILE: "none",
    WORKER_TYPE: "bench",
    WORKER_TYPES_FILE: catalog,
    HF_ENDPOINT: url,
    STATE_DIR: join(folder, "state"),
  };
  const muster = (args: string[], volume: string) =>
    measure([process.execPath, join(root, "dist", "muster.js"), ...args], { ...env, MODEL_CACHE_DIR: volume });
  const file = `${url}/bench/model/resolve/main/model.safetensors`;

  for (let round = 0; round < rounds; round += 1) {
    const target = join(folder, `curl-${round}`);
    note("curl", await measure(["curl", "-sSL", "-o", target, file], env));
    note(
      "curl, then sha256sum",
      await measure(["sh", "-c", `curl -sSL -o "${target}" "${file}" && sha256sum "${target}"`], env),
    );
    await rm(target);
    const volume = join(folder, `volume-${round}`);
    note("muster sync, cold, verified", await muster(["sync"], volume));
    note("muster sync, warm", await muster(["sync"], volume));
    note("node -e 0", await measure([process.execPath, "-e", "0"], env));
    if (round < rounds - 1) await rm(volume, { recursive: true });
  }
  const agent = await measureAgent({ ...env, MODEL_CACHE_DIR: join(folder, `volume-${rounds - 1}`), HTTP_PORT: "0" });
  hub.kill();
  await report(agent);
} finally {
  await rm(folder, { recursive: true, force: true });
}

function benchCatalog() {
  const variant = { source: "huggingface", repo: "bench/model", engine: "vllm" };
  return {
    models: { bench: { task: "embedding", variants: [variant] } },
    workerTypes: { bench: { gpu: "none", models: ["bench"] } },
  };
}

function note(name: string, measured: Measured): void {
  figures[name] = [...(figures[name] ?? []), measured];
  process.stdout.write(
    `${name}: ${measured.wall.toFixed(2)} s, ${measured.cpu.toFixed(2)} s CPU, ${measured.rssMib.toFixed(0)} MiB\n`,
  );
}

/** Wall and CPU seconds and peak memory, by the system's own accounting (GNU time). */
async function measure(command: string[], env: Record<string, string | undefined>): Promise<Measured> {
  const output = join(folder, "time");
  const child = spawn("/usr/bin/time", ["-o", output, "-f", "%e %U %S %M", ...command], {
    env,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`${command.join(" ")} ended with ${code}`);
  const [wall = 0, user = 0, system = 0, kib = 0] = (await readFile(output, "utf8")).trim().split(" ").map(Number);
  return { wall, cpu: user + system, rssMib: kib / 1024 };
}

/** From exec to the coordinator's welcome with everything on the volume, and memory ten seconds later. */
async function measureAgent(
  env: Record<string, string | undefined>,
): Promise<{ registeredMs: number[]; rssMib: number }> {
  const log = createLogger({ level: "silent", format: "text", fd: 2, file: null });
  await using coordinator = await startCoordinator({
    host: "127.0.0.1",
    port: 0,
    workerToken: null,
    clientToken: null,
    log,
  });
  const registeredMs: number[] = [];
  let rssMib = 0;
  for (let round = 0; round < rounds; round += 1) {
    const startedAt = performance.now();
    const child = spawn(process.execPath, [join(root, "dist", "muster.js"), "start"], {
      env: { ...env, COORDINATOR_URL: coordinator.wsUrl },
      stdio: ["ignore", "pipe", "inherit"],
    });
    for await (const line of createInterface({ input: child.stdout }))
      if (line.includes("Registered with the coordinator")) break;
    registeredMs.push(performance.now() - startedAt);
    if (round === rounds - 1) {
      await new Promise((resolve) => setTimeout(resolve, 10_000));
      const status = await readFile(`/proc/${child.pid}/status`, "utf8");
      rssMib = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
    }
    child.kill("SIGTERM");
    await once(child, "exit");
  }
  return { registeredMs, rssMib };
}

async function build(): Promise<void> {
  const [code] = await once(spawn(process.execPath, [join(root, "scripts", "build.ts")], { stdio: "inherit" }), "exit");
  if (code !== 0) throw new Error("the build failed");
}

async function writeRandom(path: string): Promise<void> {
  const stream = createWriteStream(path);
  const piece = Buffer.alloc(1 << 20);
  for (let written = 0; written < size; written += piece.length) {
    crypto.getRandomValues(piece.subarray(0, 65_536));
    if (!stream.write(Buffer.from(piece))) await once(stream, "drain");
  }
  stream.end();
  await once(stream, "close");
}

function median(numbers: number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0;
}

async function report(agent: { registeredMs: number[]; rssMib: number }): Promise<void> {
  const of = (name: string, key: keyof Measured) => median((figures[name] ?? []).map((measured) => measured[key]));
  const curl = of("curl", "wall");
  const rows = Object.keys(figures).map(
    (name) =>
      `| ${name} | ${of(name, "wall").toFixed(2)} | ${of(name, "cpu").toFixed(2)} | ${of(name, "rssMib").toFixed(0)} | ${(of(name, "wall") / curl).toFixed(2)} |`,
  );
  const text = `# Benchmarks

Written by \`npm run bench\`; medians of ${rounds} interleaved rounds on ${cpus().length} cores (${cpus()[0]?.model.trim()}), Node ${process.versions.node},
everything on one machine over loopback HTTP, so that server and client share the cores. Quote the ratios: machines differ.

## One file of ${values.mib} MiB

| what | wall, s | CPU, s | peak RSS, MiB | wall against curl |
| --- | --- | --- | --- | --- |
${rows.join("\n")}

curl verifies nothing; \`muster sync\` has checked the SHA-256 and synced the file to disk when it ends. The warm sync finds the
record, looks at each file, and asks nobody.

## The agent

| what | |
| --- | --- |
| warm start, from exec to registered | ${median(agent.registeredMs).toFixed(0)} ms |
| RSS at rest, 10 s after | ${agent.rssMib.toFixed(0)} MiB |
`;
  await writeFile(join(root, "docs", "benchmarks.md"), text);
  process.stdout.write(text);
}
