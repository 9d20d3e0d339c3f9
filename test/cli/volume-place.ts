import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { type Env, type Place, place, runMuster } from "../e2e/muster.ts";
import { type FileSource, type Hub, startHub } from "../fakes/hub/hub.ts";
import { type OllamaRegistry, startOllamaRegistry } from "../fakes/ollama-registry.ts";
import { causalLmRepo, seededBytes } from "../fakes/tiny-models.ts";

const KIB = 1 << 10;
export const TINY = "acme/tiny";
/** Has one large file in common with TINY. */
export const TWIN = "acme/twin";
export const CHAT = "chat";
/** Has one layer in common with CHAT. */
export const VISION = "vision";
export const BIG = "model-00003-of-00003.safetensors";
const LICENSE = "mit";
/** What the hub tells of a branch is what the card of its commit says. */
const card = { "README.md": `---\nlicense: ${LICENSE}\n---\n` };
const shared = seededBytes(900 * KIB, 9);
export const repos: Record<string, Record<string, FileSource>> = {
  [TINY]: { ...causalLmRepo(TINY, { shards: 2, sizeBytes: 800 * KIB }), [BIG]: shared, ...card },
  [TWIN]: { ...causalLmRepo(TWIN, { shards: 2, sizeBytes: 600 * KIB }), [BIG]: shared, ...card },
};

/** What `muster sync all` has made of an empty volume, for each test to begin with. */
const full = mkdtempSync(join(tmpdir(), "muster-test-full-"));
afterAll(() => rmSync(full, { recursive: true, force: true }));

/** A hub, a registry, a volume with all they have, and a catalog that means these four models. */
export interface VolumePlace extends AsyncDisposable {
  hub: Hub;
  registry: OllamaRegistry;
  here: Place;
  env: Env;
  /** A command that has to end well, with its JSON. */
  json<T = Record<string, unknown>>(...args: string[]): Promise<T>;
  /** Names of the records, in order. */
  records(): string[];
  record(location: string): { key: string; revision: string; files: { path: string; size: number }[] };
  /** Makes a model look as if it was fetched and used so many days ago. */
  makeOld(location: string, days: number): void;
}

export async function volumePlace(): Promise<VolumePlace> {
  const hub = await startHub({ repos: Object.entries(repos).map(([id, files]) => ({ id, license: LICENSE, files })) });
  const registry = await startOllamaRegistry();
  const layer = seededBytes(700 * KIB, 4);
  registry.addModel(`library/${CHAT}:latest`, { layers: { model: seededBytes(500 * KIB, 5), projector: layer } });
  registry.addModel(`library/${VISION}:latest`, { layers: { model: seededBytes(600 * KIB, 6), projector: layer } });
  const here = place({ HF_ENDPOINT: hub.url, OLLAMA_REGISTRY: registry.url });
  const onHub = (repo: string) => ({ source: "huggingface", repo, engine: "vllm" });
  const atOllama = (name: string) => ({ source: "ollama", name, engine: "ollama", quantization: "q4_0" });
  const model = (variant: object) => ({ task: "chat", license: LICENSE, variants: [variant] });
  const catalog = {
    models: {
      tiny: model(onHub(TINY)),
      twin: model(onHub(TWIN)),
      chat: model(atOllama(CHAT)),
      vision: model(atOllama(VISION)),
    },
    workerTypes: {
      both: { gpu: "none", models: ["tiny", "chat"] },
      one: { gpu: "none", models: ["twin"] },
      all: { gpu: "none", models: ["tiny", "twin", "chat", "vision"] },
    },
  };
  const file = join(here.folder, "catalog.json");
  writeFileSync(file, JSON.stringify(catalog));
  const env = { ...here.env, WORKER_TYPES_FILE: file };
  const folder = join(here.volume, ".muster/models");
  const records = () =>
    readdirSync(folder)
      .filter((name) => name.endsWith(".json"))
      .toSorted();
  const record = (location: string) => {
    const all = records().map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")));
    return all.find((each) => each.location === location);
  };
  const copy = (from: string, to: string) => execFileSync("cp", ["-a", `${from}/.`, to]);
  if (readdirSync(full).length > 0) copy(full, here.volume);
  else {
    const { code, stdout } = await runMuster(["sync", "all"], env);
    if (code !== 0) throw new Error(stdout);
    copy(here.volume, full);
  }
  return {
    hub,
    registry,
    here,
    env,
    records,
    record,
    async json<T>(...args: string[]) {
      const { code, stdout, stderr } = await runMuster([...args, "--json"], env);
      if (code !== 0) throw new Error(`muster ${args.join(" ")} ended with ${code}: ${stdout}${stderr}`);
      return JSON.parse(stdout) as T;
    },
    makeOld(location, days) {
      const time = new Date(Date.now() - days * 86_400_000);
      const { key } = record(location);
      const path = join(folder, `${key}.json`);
      writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), storedAt: time.toISOString() }));
      utimesSync(join(here.volume, ".muster/used", key), time, time);
    },
    async [Symbol.asyncDispose]() {
      here[Symbol.dispose]();
      await Promise.all([hub.close(), registry[Symbol.asyncDispose]()]);
    },
  };
}
