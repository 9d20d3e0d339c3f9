import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { HttpClient } from "../../../src/fetch/http-client.ts";
import { ollamaOrigin } from "../../../src/fetch/sources/ollama.ts";
import type { StoredModel } from "../../../src/model.ts";
import { type OllamaRegistry, type RegistryFaults, startOllamaRegistry } from "../../fakes/ollama-registry.ts";
import { ggufFile } from "../../fakes/tiny-models/gguf.ts";
import { seededBytes } from "../../fakes/tiny-models.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";
import { modelSpec, type SyncInput } from "../sync-context.ts";
import { bytesOf, filesBelow, sync } from "../volume.ts";

const MIB = 1 << 20;
const weights = bytesOf(seededBytes(20 * MIB + 321, 1));
const layers = {
  model: Buffer.concat([gguf({ "llama.block_count": 2 }), weights]),
  projector: bytesOf(seededBytes(MIB + 7, 2)),
  template: "{{ .Prompt }}",
  params: '{"stop":["<|end|>"]}',
  license: "MIT",
};

let registry: OllamaRegistry;
let manifest: string;
let volume: string;
beforeAll(async () => {
  registry = await startOllamaRegistry();
});
beforeEach(() => {
  registry.reset();
  manifest = registry.addModel("library/tiny:latest", { layers });
  volume = temporaryFolder();
});
afterAll(() => registry[Symbol.asyncDispose]());

const noKey = () => Promise.reject(new Error("nobody asks for a key"));

const run = (name = "tiny", change: Partial<SyncInput> = {}, variant = {}) =>
  sync({ endpoint: "http://127.0.0.1:9", volume, registries: [registry.url], ...change }, [
    modelSpec(name, { source: "ollama", format: "gguf", engine: "ollama", ...variant }),
  ]);

async function stored(...args: Parameters<typeof run>): Promise<StoredModel> {
  const { outcome } = await run(...args);
  expect(outcome.error).toBeNull();
  return outcome.stored!;
}

function gguf(metadata: Record<string, number>): Buffer {
  const shape = {
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.embedding_length": 64,
    "llama.context_length": 4096,
  };
  return ggufFile({ metadata: { ...shape, ...metadata }, tensors: {} });
}

const sha256 = (content: Uint8Array | string) => createHash("sha256").update(content).digest("hex");
const store = () => join(volume, "ollama");
const MANIFEST = "manifests/registry.ollama.ai/library/tiny/latest";
const blobOf = (content: Uint8Array | string) => join(store(), "blobs", `sha256-${sha256(content)}`);

/** The store as Ollama's own pull leaves it; our own folder is beside it. */
function expectWhole(text = manifest, path = MANIFEST): void {
  const said = JSON.parse(text) as { config: { digest: string }; layers: { digest: string }[] };
  const names = [said.config, ...said.layers].map(({ digest }) => `blobs/${digest.replace(":", "-")}`);
  const files = filesBelow(store()).filter((file) => !file.startsWith(".muster/"));
  expect(files.filter((file) => file.startsWith("manifests/"))).toEqual([path]);
  expect(files).toEqual(expect.arrayContaining(names));
  expect(readFileSync(join(store(), path), "utf8")).toBe(text);
  for (const name of files.filter((file) => file.startsWith("blobs/")))
    expect(`blobs/sha256-${sha256(readFileSync(join(store(), name)))}`).toBe(name);
}

it("stores every blob, and the manifest's very bytes last", async () => {
  const seen: string[] = [];
  registry.onRequest = () => {
    if (existsSync(join(store(), MANIFEST))) seen.push("a manifest before its blobs");
  };
  const model = await stored();
  expect(seen).toEqual([]);
  expectWhole();
  expect(model).toMatchObject({ location: "tiny", revision: sha256(manifest), path: store(), manifest });
  expect(model.files.map(({ path }) => path).toSorted()).toEqual(
    filesBelow(store()).filter((file) => !file.startsWith(".muster/")),
  );
  expect(model.files.at(-1)).toEqual({
    path: MANIFEST,
    size: Buffer.byteLength(manifest),
    digest: { algorithm: "sha256", hex: sha256(manifest) },
  });
  registry.requests.length = 0;
  expect(await stored()).toEqual(model);
  expect(registry.requests).toEqual([]);
});

describe("what is missing, and only that", () => {
  it("a blob", async () => {
    const model = await stored();
    rmSync(blobOf(layers.projector));
    registry.requests.length = 0;
    expect((await run()).outcome).toMatchObject({ stored: { ...model, storedAt: expect.any(String) }, error: null });
    expectWhole();
    expect(
      registry.requests
        .filter(({ host }) => host === "cdn")
        .every(({ path }) => path.includes(sha256(layers.projector))),
    ).toBe(true);
  });

  it("the manifest: written again from the record, also without a network", async () => {
    await stored();
    rmSync(join(store(), "manifests"), { recursive: true });
    registry.requests.length = 0;
    await stored("tiny", { offline: true });
    expectWhole();
    expect(registry.requests).toEqual([]);
  });

  it("what Ollama itself has fetched is digested and kept", async () => {
    mkdirSync(join(store(), "blobs"), { recursive: true });
    writeFileSync(blobOf(layers.model), layers.model);
    writeFileSync(blobOf(layers.projector), bytesOf(seededBytes(MIB + 7, 3)));
    const { outcome } = await run();
    expect(outcome.error).toBeNull();
    expectWhole();
    expect(outcome.fetchedBytes).toBeLessThan(2 * MIB);
    expect(outcome.fetchedBytes).toBeGreaterThan(MIB);
  });
});

describe("a tag that moves", () => {
  const later = { ...layers, system: "Be brief." };

  it("is not followed by a complete model, and its revision comes back where another tool moved the manifest", async () => {
    const model = await stored();
    const other = registry.addModel("library/tiny:latest", { layers: later });
    expect(await stored()).toEqual(model);
    writeFileSync(join(store(), MANIFEST), other);
    registry.requests.length = 0;
    await stored();
    expectWhole();
    expect(registry.requests).toEqual([]);
  });

  it("is followed where the old revision's blobs are gone everywhere", async () => {
    await stored();
    const gone = registry.addModel("library/tiny:latest", { layers: later });
    rmSync(blobOf(layers.license));
    registry.faults.blobStatus = { status: 404 };
    const { outcome, notes } = await run();
    expect(outcome.stored?.revision).toBe(sha256(gone));
    expect(notes).toContain(`tiny has moved from ${sha256(manifest)} to ${sha256(gone)}`);
    expectWhole(gone);
  });

  it("a pinned digest is had while the registry has it", async () => {
    registry.addModel("library/tiny:latest", { layers: later });
    const model = await stored("tiny", {}, { revision: `sha256:${sha256(manifest)}` });
    expect(model.revision).toBe(sha256(manifest));
  });
});

describe("what cannot be had", () => {
  it.each([
    [
      "a cloud stub",
      { layers: {}, config: { remote_host: "https://ollama.com", remote_model: "tiny" } },
      "runs at https://ollama.com and has no weights to fetch",
    ],
    [
      "a model of tensor layers",
      { layers: { tensor: "x", json: "{}" } },
      "is made of tensor layers, which only an Ollama with MLX runs",
    ],
  ])("%s", async (_, model, why) => {
    registry.addModel("library/odd:latest", model);
    const { outcome } = await run("odd");
    expect(outcome.error).toMatchObject({ code: "SOURCE_UNSUPPORTED", message: `odd ${why}.` });
    expect(outcome.error?.hint).toContain("https://ollama.com/library/odd");
    expect(existsSync(store())).toBe(false);
  });

  it("a model that is not there", async () => {
    const { error } = (await run("acme/none:8b")).outcome;
    expect(error).toMatchObject({
      code: "REPO_NOT_FOUND",
      message: `acme/none:8b was not found (404 from ${registry.url}/v2/acme/none/manifests/8b).`,
      hint: "Check the name at https://ollama.com/acme/none, and that OLLAMA_REGISTRY is the right registry.",
    });
  });

  it("a digest that was never the tag's", async () => {
    const { error } = (await run("tiny", {}, { revision: "0".repeat(64) })).outcome;
    expect(error).toMatchObject({ code: "REVISION_NOT_FOUND" });
  });

  it("a name that Ollama would not take", async () => {
    expect((await run("a/b/c/d")).outcome.error).toMatchObject({ code: "CATALOG_INVALID" });
  });

  it("a page in place of a manifest", async () => {
    const page = { layers: {} };
    registry.addModel("library/odd:latest", page);
    registry.faults.manifestStatus = { status: 204 };
    expect((await run("odd", { retries: 0 })).outcome.error).toMatchObject({ code: "RESPONSE_INVALID" });
  });
});

describe("faults on the way", () => {
  const cases: [string, RegistryFaults][] = [
    ["an overloaded registry", { manifestStatus: { status: 503 }, blobStatus: { status: 502, times: 2 } }],
    ["a rate limit", { blobStatus: { status: 429, retryAfter: "0", times: 2 } }],
    ["links that expire after some uses", { linkUses: 2 }],
    ["a host that refuses for a while", { cdnStatus: { status: 403, times: 2 } }],
    ["a stall before the first byte", { stall: { afterBytes: -1 } }],
    ["a stall in the middle", { stall: { afterBytes: 1000 } }],
    ["a connection that is reset", { reset: { afterBytes: 5000, times: 3 } }],
    ["one wrong byte", { flipByte: {} }],
    ["whole files for ranges", { ignoreRange: true }],
    ["a body shorter than said", { wrongLength: { difference: 100 } }],
    ["a registry that sends blobs itself", { noRedirect: true }],
  ];
  it.each(cases)("%s", async (_, faults) => {
    registry.addModel("library/tiny:latest", { layers });
    registry.faults = structuredClone(faults);
    await stored("tiny", { stallTimeoutMs: 1000 });
    expectWhole();
  });
});

describe("a registry that wants a token", () => {
  beforeEach(() => {
    registry.tokens = new Set();
  });

  it("gets a signature, and the token goes with every question to it and no further", async () => {
    await stored();
    expectWhole();
    expect(registry.tokens?.size).toBe(1);
    const [token] = [...registry.tokens!];
    const asked = registry.requests.filter(({ host, path }) => host === "registry" && path.startsWith("/v2/"));
    expect(asked.filter(({ authorization }) => authorization !== `Bearer ${token}`)).toMatchObject([{ status: 401 }]);
    expect(registry.requests.some(({ host, authorization }) => host === "cdn" && authorization)).toBe(false);
  });

  it("is asked first where only blobs are missing", async () => {
    await stored();
    rmSync(blobOf(layers.license));
    await stored();
    expectWhole();
  });

  it("a token that expires in the middle is had anew", async () => {
    let expired = 0;
    registry.onRequest = ({ path }) => {
      if (path.endsWith(sha256(layers.projector)) && path.startsWith("/v2/") && expired++ === 0)
        registry.tokens?.clear();
    };
    const { outcome } = await run();
    expect(outcome.error).toBeNull();
    expectWhole();
    expect(registry.requests.filter(({ path }) => path.startsWith("/token"))).toHaveLength(2);
  });

  it("is not sent to another host for it", async () => {
    registry.realm = "http://127.0.0.1:9/token";
    expect((await run()).outcome.error).toMatchObject({
      code: "ACCESS_REFUSED",
      message: expect.stringContaining("sends to http://127.0.0.1:9 for a token, and only itself is trusted"),
    });
  });

  it("one that gives none is told of with the worker's key", async () => {
    registry.realm = `${registry.url}/nowhere`;
    const { error } = (await run()).outcome;
    expect(error).toMatchObject({ code: "ACCESS_REFUSED" });
    expect(error?.hint).toMatch(/https:\/\/ollama\.com\/library\/tiny .*`ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA\S+`/);
  });
});

describe("several registries", () => {
  it("the next one where the first fails", async () => {
    await using mirror = await startOllamaRegistry();
    mirror.addModel("library/tiny:latest", { layers });
    registry.faults.manifestStatus = { status: 500, times: 100 };
    registry.faults.blobStatus = { status: 500, times: 100 };
    await stored("tiny", { registries: [registry.url, mirror.url], retries: 0 });
    expectWhole();
  });

  it("a host in the name is asked itself, over http where the name says so", async () => {
    await using other = await startOllamaRegistry();
    const host = new URL(other.url).host;
    const text = other.addModel("acme/tiny:8b", { layers });
    registry.requests.length = 0;
    await stored(`http://${host}/acme/tiny:8b`);
    expectWhole(text, `manifests/${host}/acme/tiny/8b`);
    expect(registry.requests).toEqual([]);
  });
});

it("tells what fitting needs, from the manifest and the beginning of the weights", async () => {
  const context = {
    client: new HttpClient({ connections: 1, stallTimeoutMs: 5_000 }),
    retries: 0,
    readStored: async () => null,
  };
  const facts = await ollamaOrigin({ registry: registry.url, key: noKey }).describe(modelSpec("tiny").variant, context);
  expect(facts).toMatchObject({
    weights: { weightsBytes: layers.model.length, projectorBytes: layers.projector.length },
    architecture: { attentionLayers: 2, heads: 4, kvHeads: 2, headDim: 16, hiddenSize: 64, maxContext: 4096 },
  });
  expect(registry.bytesServed()).toBeLessThan(100_000);
});
