import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, type ExpectStatic, test } from "vitest";
import { type Env, LAUNCHER, type Place, place, runMuster, startMuster } from "../e2e/muster.ts";
import { closedPort, holdWeights, MINILM, startMiniLmHub, WEIGHTS } from "../e2e/services.ts";
import { AS_SOMEBODY, canBeSomebody } from "../e2e/somebody.ts";
import { startHub } from "../fakes/hub/hub.ts";
import { sentenceTransformerRepo } from "../fakes/tiny-models.ts";
import { until } from "../until.ts";

const TOKEN = "hf_abcdefghijklmnop";

interface Failure {
  code: string;
  message: string;
  hint: string;
}

/** What a failed sync of one required model says to people and to programs; the two have to agree. */
async function failedSync(env: Env, expect: ExpectStatic, command?: string[]) {
  const text = await runMuster(["sync", "all-minilm-l6-v2"], env, { command });
  const json = await runMuster(["sync", "all-minilm-l6-v2", "--json"], env, { command });
  for (const output of [text.stdout, text.stderr, json.stdout, json.stderr]) expect(output).not.toContain(TOKEN);
  const report = JSON.parse(json.stdout) as { models: { id: string; state: string; error: Failure }[] };
  expect(report.models).toMatchObject([{ id: "all-minilm-l6-v2", state: "failed", bytesFetched: expect.any(Number) }]);
  const { error } = report.models[0]!;
  expect(json.code).toBe(text.code);
  expect(text.stdout).toMatch(/0 of 1 models complete \(0 B\), \S+ \w+ fetched now, 1 failed\n$/);
  expect(text.stderr).toMatch(new RegExp(`^error ${error.code}: all-minilm-l6-v2: .+\nhint .+\n$`));
  return { exit: text.code, ...error, text };
}

function somewhere(hub: { url: string }, env: Env = {}): Place {
  return place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url, ...env });
}

test.concurrent("--dry-run says what would be fetched, and leaves no trace", async ({ expect }) => {
  await using hub = await startMiniLmHub();
  using here = somewhere(hub);
  const log = join(here.folder, "sync.log");
  const env = { ...here.env, LOG_FILE: log };
  const before = await runMuster(["sync", "all-minilm-l6-v2", "--dry-run", "--json"], env);
  const planned = JSON.parse(before.stdout);
  expect(planned).toMatchObject({ dryRun: true, models: [{ id: "all-minilm-l6-v2", state: "planned" }] });
  expect(planned.bytesMissing).toBeGreaterThan(200_000);
  expect(hub.bytesServed({ file: WEIGHTS })).toBe(0);
  expect(existsSync(log)).toBe(false);
  expect((await runMuster(["list", "--json"], env)).stdout).toContain('"models": []');
  const fetched = JSON.parse((await runMuster(["sync", "all-minilm-l6-v2", "--json"], env)).stdout);
  expect(fetched.models).toMatchObject([{ bytesFetched: planned.bytesMissing }]);
  const { code, stdout } = await runMuster(["sync", "all-minilm-l6-v2", "--dry-run"], env);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^all-minilm-l6-v2 +\S+ +stored +0 B of 2\d\d kB\nWould fetch nothing; \S+ has .+ free\n$/);
});

test.concurrent("sync takes what no catalog has by a reference to its source", async ({ expect }) => {
  await using hub = await startHub({ repos: [{ id: "acme/new", files: sentenceTransformerRepo("acme/new") }] });
  using here = somewhere(hub);
  const { code, stdout } = await runMuster(["sync", "hf:acme/new@main", "--json"], here.env);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ models: [{ id: "hf:acme/new", state: "stored" }] });
  const wrong = await runMuster(["sync", "hf:acme/../new"], here.env);
  expect(wrong.stderr).toMatch(/^error MODEL_UNKNOWN: .+\nhint .+hf:org\/name\[@revision\]/);
});

test.concurrent("sync fetches what is missing and ends; a second time it fetches nothing", async ({ expect }) => {
  await using hub = await startMiniLmHub();
  using here = somewhere(hub);
  const first = await runMuster(["sync"], here.env);
  expect(first.code).toBe(0);
  expect(first.stdout).toMatch(
    / INFO {2}Downloading \S+: 0% \(0 B of 2\d\d kB\)\n(.*\n)*.* INFO {2}Downloaded \S+: 2\d\d kB\n/,
  );
  expect(first.stdout).toMatch(/\n1 of 2 models complete \(2\d\d kB\), 2\d\d kB fetched now, 1 failed\n$/);
  // What is optional fails without taking the exit code along.
  expect(first.stderr).toMatch(
    /^warning REPO_NOT_FOUND: nomic-embed-text \(optional\): nomic-embed-text was not found /,
  );
  hub.reset();
  const second = await runMuster(["sync", "--json"], here.env);
  expect(second.code).toBe(0);
  expect(hub.requests).toEqual([]);
  expect(JSON.parse(second.stdout)).toMatchObject({
    workerType: "embedding",
    models: [
      {
        id: "all-minilm-l6-v2",
        variant: `huggingface:${MINILM}`,
        required: true,
        state: "stored",
        path: expect.stringContaining(
          `${here.volume}/huggingface/hub/models--sentence-transformers--all-MiniLM-L6-v2/`,
        ),
        revision: expect.stringMatching(/^[0-9a-f]{40}$/),
        bytesFetched: 0,
        error: null,
      },
      { id: "nomic-embed-text", required: false, state: "failed", error: { code: "REPO_NOT_FOUND" } },
    ],
  });
});

test.concurrent("names of models, of types and of repositories", async ({ expect }) => {
  await using hub = await startMiniLmHub();
  using here = somewhere(hub, { WORKER_TYPE: undefined });
  const byType = JSON.parse((await runMuster(["sync", "embedding", "--json"], here.env)).stdout);
  expect(byType.workerType).toBe("embedding");
  const byRepo = JSON.parse((await runMuster(["sync", MINILM, "all-minilm-l6-v2", "--json"], here.env)).stdout);
  expect(byRepo.models).toMatchObject([{ id: "all-minilm-l6-v2", state: "stored", bytesFetched: 0 }]);
  const unknown = await runMuster(["sync", "no-such-model"], here.env);
  expect(unknown).toMatchObject({ code: 64, stdout: "" });
  expect(unknown.stderr).toContain(
    'MODEL_UNKNOWN: The catalog has no worker type and no model "no-such-model".\nhint It has',
  );
  expect(unknown.stderr).toMatch(/worker types gpu-worker, .*embedding.*; models .*all-minilm-l6-v2/);
});

test.concurrent("told to stop, it keeps what came and says to try again", async ({ expect }) => {
  await using hub = await startMiniLmHub(12 << 20);
  using here = somewhere(hub);
  const gate = holdWeights(hub);
  await using sync = startMuster(["sync", "all-minilm-l6-v2"], here.env);
  await sync.line(/Downloading .* 0%/);
  await until("the rest is asked for", () => gate.waiting > 0);
  sync.kill("SIGTERM");
  const { code, stderr } = await sync.exited;
  expect(code).toBe(75);
  expect(stderr).toContain("CANCELLED: all-minilm-l6-v2: ");
  const { models } = JSON.parse((await runMuster(["plan", "--json"], here.env)).stdout);
  expect(models[0].state).toBe("partial");
});

const hasTerminal = spawnSync("script", ["-qec", "true", "/dev/null"]).status === 0;

test.skipIf(!hasTerminal).concurrent("on a terminal it draws bars in place of log lines", async ({ expect }) => {
  await using hub = await startMiniLmHub(2 << 20);
  hub.faults.slow = { host: "cdn", bytesPerSecond: 512 << 10 };
  using here = somewhere(hub, { TERM: "xterm" });
  const command = ["script", "-qec", `stty cols 120; ${LAUNCHER} sync`, "/dev/null"];
  const { code, stdout } = await runMuster([], here.env, { command });
  expect(code).toBe(0);
  expect(stdout).toMatch(
    /Downloading all-minilm-l6-v2 +[█░]{24} +\d+% {2}[\d.]+ \w+\/2\.\d MB {2}[\d.]+ \w+\/s {2}[\d hmin]+s? left/,
  );
  expect(stdout).toMatch(
    /Complete {4}all-minilm-l6-v2 +█{24} 100% {2}2\.\d MB\/2\.\d MB\r\n(.*Failed .+\r\n)?1 of 2 models complete/,
  );
  expect(stdout).not.toContain("INFO");
});

describe.concurrent("what can go wrong", () => {
  test("gated", async ({ expect }) => {
    const repo = { id: MINILM, files: sentenceTransformerRepo(MINILM), gated: "manual" } as const;
    await using hub = await startHub({ repos: [repo], tokens: { [TOKEN]: { name: "somebody" } } });
    using here = somewhere(hub);
    const without = await failedSync(here.env, expect);
    expect(without).toMatchObject({ exit: 78, code: "MODEL_GATED" });
    expect(without.message).toMatch(/gated and refused \(no token was sent \(HF_TOKEN is not set\)\)\.$/);
    expect(without.hint).toContain(`Ask for access at ${hub.url}/${MINILM}, then set HF_TOKEN or HF_TOKEN_FILE`);
    const file = join(here.folder, "token");
    writeFileSync(file, `${TOKEN}\n`);
    const refused = await failedSync({ ...here.env, HF_TOKEN_FILE: file }, expect);
    expect(refused).toMatchObject({ exit: 78, code: "MODEL_GATED" });
    expect(refused.message).toMatch(/gated and refused \(the token of HF_TOKEN was sent\)\.$/);
    expect(hub.requests.some(({ token }) => token === TOKEN)).toBe(true);
  });

  test("an invalid token", async ({ expect }) => {
    await using hub = await startMiniLmHub();
    using here = somewhere(hub, { HF_TOKEN: TOKEN });
    expect(await failedSync(here.env, expect)).toMatchObject({ exit: 78, code: "TOKEN_INVALID" });
  });

  test("not found", async ({ expect }) => {
    await using hub = await startHub();
    using here = somewhere(hub);
    const failure = await failedSync(here.env, expect);
    expect(failure).toMatchObject({ exit: 78, code: "REPO_NOT_FOUND" });
    expect(failure.message).toContain(`${MINILM} does not exist at ${hub.url}, or is private`);
  });

  test("offline and missing, then offline and there", async ({ expect }) => {
    await using hub = await startMiniLmHub();
    using here = somewhere(hub);
    const offline = { ...here.env, HF_HUB_OFFLINE: "1" };
    expect(await failedSync(offline, expect)).toMatchObject({ exit: 78, code: "OFFLINE_MISSING" });
    expect(hub.requests).toEqual([]);
    await runMuster(["sync"], here.env);
    expect((await runMuster(["sync"], offline)).code).toBe(0);
  });

  test("the hub cannot be reached", async ({ expect }) => {
    const port = await closedPort();
    using here = somewhere({ url: `http://127.0.0.1:${port}` });
    const { code, stdout, stderr } = await runMuster(["sync", "all-minilm-l6-v2"], here.env);
    expect(code).toBe(75);
    expect(stdout).toMatch(/WARN {2}127\.0\.0\.1:\d+ cannot be reached: .+ Trying again in \d+\.\d s/);
    expect(stderr).toMatch(/HOST_UNREACHABLE: .+: connect ECONNREFUSED .+\nhint .+HTTPS_PROXY and NO_PROXY/);
  });

  test("a wrong digest", async ({ expect }) => {
    await using hub = await startMiniLmHub();
    hub.faults.flipByte = { path: WEIGHTS, offset: 1000 };
    using here = somewhere(hub);
    const failure = await failedSync(here.env, expect);
    expect(failure).toMatchObject({ exit: 75, code: "DIGEST_MISMATCH" });
    expect(failure.message).toMatch(
      /model\.safetensors came with the wrong sha256 digest: expected [0-9a-f]{64}, got [0-9a-f]{64}/,
    );
    expect(failure.text.stdout).toMatch(/WARN {2}.+ came with the wrong sha256 digest: .+ It was dropped/);
    hub.reset();
    expect((await runMuster(["sync"], here.env)).code).toBe(0);
  });

  test("not enough space", async ({ expect }) => {
    await using hub = await startMiniLmHub();
    using here = somewhere(hub, { MIN_FREE_GB: "1000000" });
    const failure = await failedSync(here.env, expect);
    expect(failure).toMatchObject({ exit: 75, code: "DISK_FULL" });
    expect(failure.message).toMatch(
      /needs 0\.\d MB, and .+ has 0\.0 MB to spare \(.+ GB free, 1000000\.00 GB kept free/,
    );
    expect(failure.hint).toMatch(/Free 9\d+\.\d\d GB or enlarge the volume .+ lower MIN_FREE_GB/);
    expect(hub.bytesServed({ file: WEIGHTS })).toBe(0);
  });

  test.skipIf(process.platform !== "linux")("a volume that takes no folders", async ({ expect }) => {
    await using hub = await startMiniLmHub();
    using here = somewhere(hub, { MODEL_CACHE_DIR: "/proc/models" });
    // What never ends hears no SIGTERM either.
    const failure = await failedSync(here.env, expect, ["timeout", "--signal=KILL", "40", LAUNCHER]);
    expect(failure).toMatchObject({ exit: 78, code: "VOLUME_NOT_WRITABLE" });
    expect(failure.message).toContain("No folder can be made in /proc: its file system takes none.");
  });

  test.skipIf(!canBeSomebody)("a volume that may not be written", async ({ expect }) => {
    await using hub = await startMiniLmHub();
    using here = somewhere(hub);
    chmodSync(here.folder, 0o755);
    const failure = await failedSync(here.env, expect, AS_SOMEBODY);
    expect(failure).toMatchObject({ exit: 78, code: "VOLUME_NOT_WRITABLE" });
    expect(failure.message).toContain(`No permission to write ${here.volume} as 1000:1000.`);
    expect(failure.hint).toContain("On the host run `chown -R 1000:1000 <the mounted folder>`");
    // What is there already needs no permission.
    await runMuster(["sync"], here.env);
    expect((await runMuster(["sync"], here.env, { command: AS_SOMEBODY })).code).toBe(0);
  });
});

describe.concurrent("what is wrong from the start", () => {
  async function refused(env: Env, expect: ExpectStatic) {
    using here = place({ WORKER_TYPE: "embedding", ...env });
    const text = await runMuster(["sync"], here.env);
    const json = await runMuster(["sync", "--json"], here.env);
    const { error } = JSON.parse(json.stderr) as { error: Failure };
    expect([text.stdout, json.stdout]).toEqual(["", ""]);
    expect(json.code).toBe(text.code);
    expect(text.stderr).toBe(`error ${error.code}: ${error.message}\nhint ${error.hint}\n`);
    return { exit: text.code, ...error };
  }

  test("no WORKER_TYPE, or one that does not exist", async ({ expect }) => {
    const missing = await refused({ WORKER_TYPE: "" }, expect);
    expect(missing).toMatchObject({ exit: 78, code: "WORKER_TYPE_MISSING" });
    const unknown = await refused({ WORKER_TYPE: "embeddings" }, expect);
    expect(unknown).toMatchObject({ exit: 78, code: "WORKER_TYPE_UNKNOWN" });
    expect(unknown.message).toContain('WORKER_TYPE is "embeddings"');
    for (const { hint } of [missing, unknown])
      expect(hint).toMatch(/^Set WORKER_TYPE to one of: gpu-worker, .*embedding/);
  });

  test("a configuration with several mistakes is told in one go, without secrets", async ({ expect }) => {
    const failure = await refused(
      { LOG_LEVEL: "loud", HTTP_PORT: "99999", ENABLE_GPU: "perhaps", HF_TOKEN: "two words", HF_ENDPOINT: "ftp://x" },
      expect,
    );
    expect(failure).toMatchObject({ exit: 78, code: "CONFIG_INVALID" });
    expect(failure.message).toMatch(/^The configuration has 5 problems:\n/);
    for (const said of [
      'LOG_LEVEL is "loud"; allowed: trace, debug, info, warn',
      'HTTP_PORT is "99999"; allowed: 0 to 65535',
      'ENABLE_GPU is "perhaps"; allowed: auto, true or false',
      'HF_ENDPOINT is "ftp://x"; allowed: http(s) URLs',
      "HF_TOKEN is set to something unusable (not shown)",
    ]) {
      expect(failure.message).toContain(said);
    }
    expect(failure.message).not.toContain("two words");
  });

  test("a broken catalog is told by file and line", async ({ expect }) => {
    using here = place();
    const file = join(here.folder, "types.json");
    writeFileSync(
      file,
      `{
  "models": { "tiny": { "task": "chat", "variants": [ { "source": "huggingface", "repo": "acme/tiny", "engine": "vllm" } ] } },
  "workerTypes": {
    "cpu-worker": {
      "gpu": "never",
      "models": ["tiny", "missing"]
    }
  }
}`,
    );
    const failure = await refused({ WORKER_TYPES_FILE: file }, expect);
    expect(failure).toMatchObject({ exit: 78, code: "CATALOG_INVALID" });
    expect(failure.message).toContain(
      `${file}:5: workerTypes.cpu-worker.gpu: found "never"; allowed: one of required, preferred, none`,
    );
    writeFileSync(file, '{\n  "models": {},\n');
    expect((await refused({ WORKER_TYPES_FILE: file }, expect)).message).toContain(`${file}:3: not JSON`);
    const absent = await refused({ WORKER_TYPES_FILE: join(here.folder, "absent.json") }, expect);
    expect(absent).toMatchObject({ exit: 78, code: "CATALOG_INVALID" });
  });
});
