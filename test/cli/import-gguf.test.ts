import { createHash } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { type Env, type Place, place, runMuster, startMuster } from "../e2e/muster.ts";
import { closedPort } from "../e2e/services.ts";
import { type Hub, startHub } from "../fakes/hub/hub.ts";
import { type OllamaApi, startOllamaApi } from "../fakes/ollama-api.ts";
import { causalLmRepo, ggufRepo, llamaGguf } from "../fakes/tiny-models.ts";

const GGUF = llamaGguf({ type: "F16", sizeBytes: 3 << 20, seed: 7 });
const digestOf = (content: string | Uint8Array) => `sha256:${createHash("sha256").update(content).digest("hex")}`;

interface At {
  here: Place;
  api: OllamaApi;
  env: Env;
  /** A GGUF in F16. */
  file: string;
  run(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }>;
}

async function withServer(more: Env = {}): Promise<At> {
  const api = await startOllamaApi();
  const here = place({ OLLAMA_URL: api.url, ...more });
  onTestFinished(async () => {
    here[Symbol.dispose]();
    await api[Symbol.asyncDispose]();
  });
  const file = join(here.folder, "tiny.f16.gguf");
  writeFileSync(file, GGUF);
  return { here, api, env: here.env, file, run: (...args) => runMuster(["import-gguf", ...args], here.env) };
}

async function withHub(): Promise<Hub> {
  const hub = await startHub({
    repos: [
      { id: "acme/tiny", files: causalLmRepo("acme/tiny", { shards: 2 }), license: "mit" },
      { id: "acme/tiny-GGUF", files: ggufRepo("acme/tiny-GGUF"), license: "gemma" },
      { id: "acme/pickle", files: { "config.json": "{}", "pytorch_model.bin": "x" } },
    ],
  });
  onTestFinished(() => hub.close());
  return hub;
}

describe("a file", () => {
  test("is sent, and made into a model, with each step told", async () => {
    const { run, api, file } = await withServer();
    const { code, stdout } = await run(file, "--as", "tiny", "--quantize", "q4_K_M");
    expect(code).toBe(0);
    expect(api.making.made.get("tiny")).toEqual({ files: { "tiny.f16.gguf": digestOf(GGUF) }, quantize: "q4_K_M" });
    expect(stdout).toMatch(/ INFO {2}Reading \S+tiny\.f16\.gguf \(\S+ MB\) for its digest$/m);
    expect(stdout).toMatch(/ INFO {2}tiny: parsing GGUF$/m);
    expect(stdout).toMatch(/ INFO {2}quantizing F16 model to q4_K_M tiny: /m);
    expect(stdout).toMatch(/ INFO {2}tiny: writing manifest$/m);
    expect(stdout).toMatch(/^http:\S+ has tiny now \(\S+ MB, Q4_K_M\); \S+ MB sent in 1 of 1 files$/m);
  });

  test("that the server has is not sent again, and a model of that name is replaced only when that is said", async () => {
    const { run, api, file } = await withServer();
    expect((await run(file, "--as", "tiny:f16")).code).toBe(0);
    const sent = api.making.receivedBytes;
    const asked = await run(file, "--as", "Tiny:f16");
    expect(asked).toMatchObject({ code: 64, stderr: expect.stringContaining("error USAGE: Nothing was replaced: ") });
    const { code, stdout } = await run(file, "--as", "tiny:f16", "--yes", "--json");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      ...{ model: "tiny:f16", server: api.url, replaced: true, files: 1, sentFiles: 0, sentBytes: 0 },
      ...{ quantization: "F16", digest: expect.stringMatching(/^[0-9a-f]{64}$/) },
      statuses: ["parsing GGUF", expect.stringMatching(/^using existing layer/), "writing manifest", "success"],
    });
    expect(api.making.receivedBytes).toBe(sent);
  });

  test("under a name that Ollama does not take is refused by the option that gave it", async () => {
    const { run, api, file } = await withServer();
    const { code, stdout, stderr } = await run(file, "--as", "x y");
    expect({ code, stdout }).toEqual({ code: 64, stdout: "" });
    expect(stderr).toContain(
      `error USAGE: --as is "x y", which is not a name that Ollama takes.\nhint Give --as a name`,
    );
    expect(api.making.asked).toEqual([]);
  });

  test("with --dry-run nothing is sent", async () => {
    const { run, api, file } = await withServer();
    const { code, stdout } = await run(file, "--as", "tiny", "--quantize", "q8_0", "--dry-run");
    expect(code).toBe(0);
    expect(stdout).toContain(`Would send up to `);
    expect(stdout).toContain(`have ${api.url} make tiny of ${file}, quantized to q8_0\n`);
    expect(api.making.asked).toEqual([]);
  });

  test("or a folder: the safetensors and what belongs to them", async () => {
    const { run, api, here } = await withServer();
    const folder = join(here.folder, "model");
    mkdirSync(folder);
    const files = { ...causalLmRepo("acme/local", { shards: 2 }), "notes.txt": "mine" };
    for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content as string);
    expect((await run(folder, "--as", "acme/local")).code).toBe(0);
    const names = Object.keys(api.making.made.get("acme/local")!.files);
    expect(names).toEqual(expect.arrayContaining(["config.json", "tokenizer.json", "tokenizer.model"]));
    expect(names.filter((name) => name.endsWith(".safetensors"))).toHaveLength(2);
    expect(names).not.toContain("notes.txt");
    expect(names).not.toContain("README.md");
  });
});

describe("a repository", () => {
  test("is fetched to the volume first, and sent by the digests of its record", async () => {
    const hub = await withHub();
    const { run, api, env } = await withServer({ HF_ENDPOINT: hub.url });
    const planned = await run("acme/tiny", "--as", "tiny", "--dry-run");
    expect(planned.stdout).toMatch(/^Would fetch \S+ \wB, send up to \S+ \wB in \d+ files, and have /);
    const { code, stdout } = await run("hf:acme/tiny", "--as", "tiny");
    expect(code).toBe(0);
    expect(stdout).toMatch(/ INFO {2}Downloaded acme\/tiny: /);
    expect(Object.keys(api.making.made.get("tiny")!.files)).toContain("model.safetensors.index.json");
    const list = await runMuster(["list", "--json"], env);
    expect(JSON.parse(list.stdout).models).toMatchObject([{ location: "acme/tiny", complete: true, heldBy: [] }]);
    const fetched = hub.bytesServed();
    expect((await run("acme/tiny", "--as", "again")).code).toBe(0);
    expect(hub.bytesServed()).toBe(fetched);
  });

  test("of GGUF files: the one that is asked for", async () => {
    const hub = await withHub();
    const { run, api } = await withServer({ HF_ENDPOINT: hub.url });
    expect((await run("hf:acme/tiny-GGUF", "--as", "tiny", "--gguf", "q8_0")).code).toBe(0);
    expect(Object.keys(api.making.made.get("tiny")!.files)).toEqual(["tiny.Q8_0.gguf"]);
    const none = await run("hf:acme/tiny-GGUF", "--as", "other", "--gguf", "q2_k");
    expect(none.code).toBe(78);
    expect(none.stderr).toContain("hint Set the variant's quantization to one of: f16, q4_0, q8_0.");
  });

  test("is held against the policy, like files and folders", async () => {
    const hub = await withHub();
    const { run, file, api } = await withServer({ HF_ENDPOINT: hub.url, ALLOWED_LICENSES: "mit" });
    expect((await run("acme/tiny", "--as", "tiny")).code).toBe(0);
    const refused = await run("hf:acme/tiny-GGUF", "--as", "no");
    expect(refused.stderr).toContain("error LICENSE_REFUSED: acme/tiny-GGUF is under gemma");
    const unknown = await run(file, "--as", "no");
    expect(unknown.stderr).toContain("hint Say its licence with --license");
    expect((await run(file, "--as", "yes", "--license", "MIT")).code).toBe(0);
    expect((await run("acme/pickle", "--as", "no", "--license", "mit")).stderr).toContain("error PICKLE_REFUSED");
    expect([...api.making.made.keys()]).toEqual(["tiny", "yes"]);
  });
});

describe("trouble", () => {
  test("on the way is made up for: each file is looked for before it is sent again", async () => {
    const { run, api, file } = await withServer();
    api.making.faults = { blobReset: { afterBytes: 1 << 20 }, blobStatus: { status: 503, error: "busy" } };
    const { code, stdout } = await run(file, "--as", "tiny");
    expect(code).toBe(0);
    expect(stdout).toMatch(/ WARN {2}The Ollama server at \S+ failed: busy Trying again in/);
    expect(stdout).toMatch(/ WARN {2}The Ollama server at \S+ is not there: .* Trying again in/);
    api.making.blobs.clear();
    api.making.faults = { blobLost: {} };
    const before = api.making.asked.length;
    expect((await run(file, "--as", "lost")).code).toBe(0);
    expect(api.making.asked.slice(before).filter((asked) => asked.startsWith("POST /api/blobs"))).toHaveLength(1);
  });

  test("that a kill leaves is gone on with", async () => {
    const hub = await withHub();
    const { run, api, env } = await withServer({ HF_ENDPOINT: hub.url });
    const { promise, resolve } = Promise.withResolvers<void>();
    api.making.hold = promise;
    await using killed = startMuster(["import-gguf", "hf:acme/tiny", "--as", "tiny"], env);
    await killed.line(/tiny: converting model/);
    killed.kill("SIGKILL");
    await killed.exited;
    await api.making.left;
    resolve();
    api.making.hold = null;
    const again = await run("hf:acme/tiny", "--as", "tiny", "--json");
    expect(JSON.parse(again.stdout)).toMatchObject({ sentFiles: 0, replaced: false });
  });

  test("SIGTERM leaves the server's work, too", async () => {
    const { api, env, file } = await withServer();
    api.making.hold = new Promise(() => undefined);
    await using stopped = startMuster(["import-gguf", file, "--as", "tiny"], env);
    await stopped.line(/tiny: parsing GGUF/);
    stopped.kill("SIGTERM");
    const { code, stderr } = await stopped.exited;
    expect(code).toBe(75);
    expect(stderr).toContain("error CANCELLED");
    await api.making.left;
    expect(api.making.made.size).toBe(0);
  });

  test("a file that changes while it is read is not made into anything", async () => {
    const { api, env, here } = await withServer();
    const folder = join(here.folder, "two");
    mkdirSync(folder);
    for (const [name, content] of Object.entries(causalLmRepo("acme/x", { shards: 2 })))
      writeFileSync(join(folder, name), content as string);
    api.making.faults = { blobStatus: { status: 500, error: "wait", times: 1 } };
    await using muster = startMuster(["import-gguf", folder, "--as", "x"], env);
    await muster.line(/failed: wait/);
    writeFileSync(join(folder, "config.json"), "{}");
    const { code, stderr } = await muster.exited;
    expect(code).toBe(75);
    expect(stderr).toMatch(/error (STORE_CHANGED|DIGEST_MISMATCH)/);
    expect(api.making.made.size).toBe(0);
  });

  test.each<[string, OllamaApi["making"]["faults"], string[], number, RegExp]>([
    [
      "quantizes only full precision",
      {},
      ["--quantize", "q9_9"],
      78,
      /error UNSUPPORTED: .* unsupported quantization type Q9_9\nhint Servers quantize/,
    ],
    [
      "has no space",
      { createError: { error: "write /m/blobs/x: no space left on device" } },
      [],
      75,
      /error DISK_FULL/,
    ],
    [
      "does not know the model",
      { createError: { error: "unsupported architecture FooForCausalLM" } },
      [],
      78,
      /error SOURCE_UNSUPPORTED: .*\nhint Update the Ollama server/,
    ],
    ["ends too early", { createCut: {} }, [], 75, /error ENGINE_DOWN: .*it ended its answer before the model was made/],
    [
      "does not take the name",
      { createStatus: { status: 400, error: "invalid model name" } },
      [],
      64,
      /error INVALID_INPUT/,
    ],
    [
      "is behind a proxy that takes no large files",
      { blobStatus: { status: 413, error: "413 Request Entity Too Large" } },
      [],
      64,
      /error PAYLOAD_TOO_LARGE: .*\nhint .*OLLAMA_URL/,
    ],
    [
      "gets other bytes",
      { blobStatus: { status: 400, error: "digest mismatch, expected a, got b", times: 9 } },
      [],
      75,
      /error DIGEST_MISMATCH/,
    ],
  ])("a server that %s says so", async (_what, faults, more, exit, words) => {
    const { run, api, file } = await withServer();
    api.making.faults = faults;
    const { code, stderr } = await run(file, "--as", "tiny", ...more);
    expect(stderr).toMatch(words);
    expect(code).toBe(exit);
    expect(api.making.made.size).toBe(0);
  });

  test("no server, a silent one, another's, and what is no model", async () => {
    const { run, env, file, here, api } = await withServer();
    const away = await runMuster(["import-gguf", file, "--as", "x"], {
      ...env,
      OLLAMA_URL: `http://127.0.0.1:${await closedPort()}`,
    });
    expect(away).toMatchObject({ code: 75, stderr: expect.stringContaining("error ENGINE_DOWN") });
    const unset = await runMuster(["import-gguf", file, "--as", "x"], { ...env, OLLAMA_URL: undefined });
    expect(unset).toMatchObject({ code: 64, stderr: expect.stringContaining("OLLAMA_URL is not set") });
    const hub = await withHub();
    const other = await runMuster(["import-gguf", file, "--as", "x"], { ...env, OLLAMA_URL: hub.url });
    expect(other.stderr).toContain("answers, but not as an Ollama server does");
    expect((await run("nothing here", "--as", "x")).stderr).toContain("is no file or folder here");
    expect((await run(file, "--as", "a/b/c/d/e")).stderr).toContain("is not a name that Ollama takes");
    const weights = join(here.folder, "model.safetensors");
    writeFileSync(weights, "x");
    expect((await run(weights, "--as", "x")).stderr).toContain("hint Name its folder, with the config.json");
    rmSync(weights);
    expect((await run(file)).code).toBe(64);
    api.silent = true;
    const silent = await run(file, "--as", "x");
    expect(silent).toMatchObject({
      code: 75,
      stderr: expect.stringMatching(/error ENGINE_DOWN: .*answered nothing within 10 s/),
    });
  });
});
