import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { collectFacts } from "../../../src/fetch/describe.ts";
import { missingBytes } from "../../../src/fetch/missing-bytes.ts";
import { closedPort } from "../../e2e/services.ts";
import { type OllamaApi, startOllamaApi, usualTag } from "../../fakes/ollama-api.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";
import { until } from "../../until.ts";
import { modelSpec, openTransfer, type SyncInput, syncContext } from "../sync-context.ts";
import { sync } from "../volume.ts";

let api: OllamaApi;
beforeEach(async () => {
  api = await startOllamaApi();
});
afterEach(() => api[Symbol.asyncDispose]());

const input = (change: Partial<SyncInput> = {}): SyncInput => ({
  endpoint: "http://127.0.0.1:9",
  volume: temporaryFolder(),
  ollamaServer: api.url,
  retries: 1,
  ...change,
});
const spec = (name = "tiny", variant = {}) =>
  modelSpec(name, { source: "ollama", format: "gguf", engine: "ollama", ...variant });
const run = (change: Partial<SyncInput> = {}, model = spec(), signal?: AbortSignal) =>
  sync(input(change), [model], signal);
const pulls = () => api.requests.filter(({ path }) => path === "/api/pull").length;

it("the server pulls, and says what it has; the second time there is nothing to do", async () => {
  const { outcome, progress } = await run();
  expect(outcome.error).toBeNull();
  expect(outcome.stored).toMatchObject({
    source: "ollama",
    location: "tiny",
    revision: "a".repeat(64),
    path: "tiny:latest",
    bytes: 1234,
    license: "apache-2.0",
    storedAt: "2026-01-02T03:04:05.678Z",
  });
  expect(outcome.fetchedBytes).toBe(1000);
  expect(progress.map(({ state, bytesDone }) => [state, bytesDone])).toEqual([
    ["fetching", 0],
    ["fetching", 1000],
    ["stored", 1234],
  ]);
  expect((await run()).outcome).toMatchObject({ stored: { path: "tiny:latest" }, fetchedBytes: 0 });
  expect(pulls()).toBe(1);
});

it("bytes that turn out wrong are taken back, and what the server had already is not fetched", async () => {
  const layer = (hex: string, total: number, completed?: number) => ({
    status: `pulling ${hex.repeat(12)}`,
    digest: `sha256:${hex.repeat(64)}`,
    total,
    ...(completed === undefined ? {} : { completed }),
  });
  api.pull = async ({ send, store }) => {
    const events = [
      layer("1", 500, 500),
      layer("2", 100),
      layer("2", 100, 60),
      layer("2", 100, 20),
      layer("2", 100, 100),
    ];
    for (const event of events) send(event);
    store({});
    send({ status: "success" });
  };
  const { outcome, progress } = await run();
  expect(progress.map(({ bytesDone, bytesTotal }) => [bytesDone, bytesTotal])).toEqual([
    [500, 500],
    [500, 600],
    [560, 600],
    [520, 600],
    [600, 600],
    [1234, 1234],
  ]);
  expect(outcome.fetchedBytes).toBe(140);
});

describe("names", () => {
  it("are the server's whatever their case, and asked for without a scheme", async () => {
    const asked: unknown[] = [];
    const usual = api.pull;
    api.pull = (pull) => {
      asked.push([pull.name, pull.insecure]);
      return usual(pull);
    };
    expect((await run({}, spec("http://localhost:5000/acme/tiny:8b"))).outcome.error).toBeNull();
    expect(asked).toEqual([["localhost:5000/acme/tiny:8b", true]]);
    api.models = [usualTag("Llava:7B")];
    expect((await run({}, spec("llava:7b"))).outcome.stored?.path).toBe("Llava:7B");
  });

  it("a pinned digest is another model's where the tag has moved", async () => {
    const { error } = (await run({}, spec("tiny", { revision: "c".repeat(64) }))).outcome;
    expect(error).toMatchObject({ code: "REVISION_NOT_FOUND" });
    expect((await run({}, spec("tiny", { revision: `sha256:${"a".repeat(64)}` }))).outcome.error).toBeNull();
  });
});

describe("what a server says went wrong, in the middle of an answer that began well", () => {
  it.each([
    ["pull model manifest: file does not exist", "REPO_NOT_FOUND"],
    ["write /root/.ollama/models/blobs/x: no space left on device", "DISK_FULL"],
    ["this model requires MLX support, but the MLX runtime is not available", "SOURCE_UNSUPPORTED"],
    ["pull model manifest: 412: requires a newer version of Ollama", "SOURCE_UNSUPPORTED"],
    ["digest mismatch, file must be downloaded again: want sha256:a, got sha256:b", "DIGEST_MISMATCH"],
    ['pull model manifest: Get "https://x/v2/": dial tcp: lookup x: no such host', "HOST_UNREACHABLE"],
    ["something new", "SERVER_ERROR"],
  ])("%s", async (error, code) => {
    api.pull = async ({ send }) => {
      send({ status: "pulling manifest" });
      send({ error });
    };
    const { outcome } = await run({ retries: 0 });
    expect(outcome.error).toMatchObject({ code, message: `The Ollama server at ${api.url} failed: ${error}` });
  });
});

describe("a server that is not well", () => {
  it("cuts the answer: asked again", async () => {
    const usual = api.pull;
    api.pull = async ({ send, cut }) => {
      api.pull = usual;
      send({ status: "pulling manifest" });
      cut();
    };
    const { outcome, notes } = await run();
    expect(outcome.error).toBeNull();
    expect(notes[0]).toMatch(/^The Ollama server at .+ is not there: .+ Trying again in/);
  });

  it("ends the answer before the end: asked again", async () => {
    const usual = api.pull;
    api.pull = async ({ send }) => {
      api.pull = usual;
      send({ status: "pulling manifest" });
    };
    const { outcome, notes } = await run();
    expect(outcome.error).toBeNull();
    expect(notes[0]).toContain("it ended the answer before the end");
  });

  it("says nothing any more: given up, and asked again", async () => {
    const usual = api.pull;
    let left: Promise<unknown> = Promise.resolve();
    api.pull = async ({ send, gone }) => {
      api.pull = usual;
      left = gone;
      send({ status: "pulling manifest" });
      await gone;
    };
    const { outcome, notes } = await run({ stallTimeoutMs: 300 });
    expect(outcome.error).toBeNull();
    expect(notes[0]).toMatch(/told nothing about tiny for 0\.3 s\. Trying again in/);
    await left;
  });

  it("says nothing while it digests: left to it", async () => {
    api.pull = async ({ send, store }) => {
      send({ status: "verifying sha256 digest" });
      await sleep(1_000);
      store({});
      send({ status: "success" });
    };
    const { outcome, notes } = await run({ stallTimeoutMs: 300 });
    expect([outcome.error, notes]).toEqual([null, []]);
  });

  it("is not there at all", async () => {
    const url = `http://127.0.0.1:${await closedPort()}`;
    const { error } = (await run({ ollamaServer: url, retries: 0 })).outcome;
    expect(error).toMatchObject({ code: "ENGINE_DOWN", message: expect.stringContaining("ECONNREFUSED") });
    expect(error?.hint).toContain("OLLAMA_URL");
  });

  it("takes connections and answers none", async () => {
    api.silent = true;
    const { error } = (await run({ stallTimeoutMs: 300, retries: 0 })).outcome;
    expect(error).toMatchObject({
      code: "ENGINE_DOWN",
      message: `The Ollama server at ${api.url} is not there: it answered nothing within 0.3 s.`,
    });
  });

  it("is another kind of server", async () => {
    const { error } = (await run({ ollamaServer: `${api.url}/other`, retries: 0 })).outcome;
    expect(error).toMatchObject({ code: "RESPONSE_INVALID", hint: expect.stringContaining("OLLAMA_URL") });
  });
});

it("told to stop, it leaves the server, which keeps what it has", async () => {
  const stop = new AbortController();
  const left = Promise.withResolvers<void>();
  api.pull = async ({ send, gone }) => {
    send({ status: "pulling manifest" });
    await gone;
    left.resolve();
  };
  const running = run({}, spec(), stop.signal);
  await until("it pulls", () => pulls() === 1);
  stop.abort();
  expect((await running).outcome.error?.code).toBe("CANCELLED");
  await left.promise;
});

it("offline nothing is pulled; what is there is there", async () => {
  const { outcome } = await run({ offline: true });
  expect(outcome.error).toMatchObject({
    code: "OFFLINE_MISSING",
    message: expect.stringContaining("does not have tiny"),
  });
  expect(pulls()).toBe(0);
  api.models = [usualTag("tiny")];
  expect((await run({ offline: true })).outcome.error).toBeNull();
});

it("a model that runs elsewhere is none", async () => {
  api.models = [{ ...usualTag("tiny"), remote_host: "https://ollama.com" }];
  expect((await run()).outcome.error).toMatchObject({
    code: "SOURCE_UNSUPPORTED",
    message: `tiny runs at https://ollama.com, not at ${api.url}.`,
  });
});

it("credentials in its address are sent as a header", async () => {
  const address = new URL(api.url);
  address.username = "bob";
  address.password = "s3:cret";
  expect((await run({ ollamaServer: address.href })).outcome.error).toBeNull();
  const expected = `Basic ${Buffer.from("bob:s3:cret").toString("base64")}`;
  expect(api.requests.every(({ authorization }) => authorization === expected)).toBe(true);
});

it("a plan goes by what the server has, and says of it", async () => {
  const from = input();
  await using transfer = openTransfer(from);
  const context = syncContext(from, transfer);
  const { variant } = spec("tiny", { sizeBytes: 5000 });
  expect(await missingBytes(variant, context)).toEqual({
    state: "missing",
    bytesTotal: 5000,
    bytesPresent: 0,
    bytesMissing: 5000,
  });
  api.models = [usualTag("tiny")];
  expect(await missingBytes(variant, context)).toEqual({
    state: "stored",
    bytesTotal: 1234,
    bytesPresent: 1234,
    bytesMissing: 0,
  });
  api.info["tiny:latest"] = {
    "general.architecture": "llama",
    "llama.block_count": 4,
    "llama.embedding_length": 64,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": [2, 2, 0, 2],
    "tokenizer.ggml.tokens": null,
  };
  const facts = await collectFacts([variant], context, (_, error) => expect(error).toBeNull());
  expect(facts.get(variant)).toMatchObject({ weightsBytes: 1234, architecture: { attentionLayers: 3, kvHeads: 2 } });
});
