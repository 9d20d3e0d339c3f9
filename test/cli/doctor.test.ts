import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, type ExpectStatic, test } from "vitest";
import { startCoordinator } from "../../src/coordinator/coordinator.ts";
import { fakeTools } from "../detect/fake-tools.ts";
import { type Env, place, runMuster } from "../e2e/muster.ts";
import { closedPort, startMiniLmHub, startTestCoordinator } from "../e2e/services.ts";
import { startHub } from "../fakes/hub/hub.ts";
import { quietLog } from "../register/worker.ts";

const TOKEN = "hf_abcdefghijklmnop";

interface Check {
  name: string;
  result: string;
  found: string;
  hint?: string;
}

async function doctor(env: Env, expect: ExpectStatic) {
  const { code, stdout, stderr } = await runMuster(["doctor", "--json"], env);
  // Node.js itself has a word about authorities that it cannot read.
  expect(stderr.replace(/^.*Warning: Ignoring extra certs.*\n/gm, "")).toBe("");
  expect(stdout).not.toContain(TOKEN);
  const { ok, checks } = JSON.parse(stdout) as { ok: boolean; checks: Check[] };
  return { code, ok, of: (name: string) => checks.find((check) => check.name === name), checks };
}

describe.concurrent("doctor", () => {
  test("everything is there", async ({ expect }) => {
    await using hub = await startMiniLmHub();
    hub.tokens[TOKEN] = { name: "somebody" };
    await using coordinator = await startTestCoordinator();
    await using engine = createServer((_request, response) => response.end("Ollama is running")).listen(0, "127.0.0.1");
    await once(engine, "listening");
    using here = place({
      WORKER_TYPE: "embedding",
      HF_ENDPOINT: hub.url,
      HF_TOKEN: TOKEN,
      OLLAMA_URL: `http://127.0.0.1:${(engine.address() as AddressInfo).port}`,
      ...coordinator.env,
    });
    const { code, ok, checks, of } = await doctor(here.env, expect);
    expect({ code, ok }).toEqual({ code: 0, ok: true });
    expect(checks.map(({ name }) => name)).toEqual([
      "hardware",
      "gpu",
      "container",
      "mount",
      "volume",
      "lease",
      "space",
      "catalog",
      "hub",
      "registry",
      "coordinator",
      "ollama",
      "clock",
    ]);
    expect(checks.filter(({ result }) => result === "fail")).toEqual([]);
    expect(of("hub")?.found).toMatch(
      /^http:\/\/127\.0\.0\.1:\d+ answers in \d+ ms; the token of somebody \(read\) is set$/,
    );
    expect(of("clock")?.found).toMatch(/^within \d s of hub, registry, coordinator, ollama$/);
    expect(of("volume")?.found).toMatch(`${here.volume} can be written, has symbolic links, belongs to `);
    expect(of("catalog")?.found).toMatch(/worker-types\.json: \d+ models, 8 worker types$/);
    const text = await runMuster(["doctor"], here.env);
    expect(text.code).toBe(0);
    expect(text.stdout).toMatch(/^ok {3}hardware {5}\d+ CPU cores, /);
    expect(text.stdout).toMatch(/^ok {3}coordinator {2}ws:\/\/127\.0\.0\.1:\d+\/ answers in \d+ ms$/m);
  });

  test("nothing is there: each line says what to do", async ({ expect }) => {
    const nowhere = `127.0.0.1:${await closedPort()}`;
    using here = place({
      WORKER_TYPE: "no-such-type",
      MODEL_CACHE_DIR: "/no-such-volume",
      HF_ENDPOINT: `http://${nowhere}`,
      COORDINATOR_URL: `ws://${nowhere}`,
      VLLM_URL: `http://${nowhere}`,
    });
    const { code, ok, of } = await doctor(here.env, expect);
    expect({ code, ok }).toEqual({ code: 1, ok: false });
    expect(of("volume")).toMatchObject({ result: "fail", found: "/no-such-volume does not exist" });
    expect(of("catalog")).toMatchObject({ result: "fail", found: expect.stringContaining('"no-such-type"') });
    for (const name of ["hub", "coordinator", "vllm"]) {
      expect(of(name)).toMatchObject({
        result: "fail",
        found: expect.stringMatching(`^${nowhere} cannot be reached: .*ECONNREFUSED`),
      });
    }
    expect(of("vllm")?.hint).toBe("Check VLLM_URL, and that the engine runs.");
    const text = await runMuster(["doctor"], here.env);
    expect(text.code).toBe(1);
    expect(text.stdout).toMatch(
      /^fail {1}volume {7}\/no-such-volume does not exist\n {18}→ Mount the volume there \(-v /m,
    );
  });

  // This machine's own graphics would be found instead.
  test.skipIf(existsSync("/dev/dri"))("a GPU that is asked for and not there", async ({ expect }) => {
    await using tools = await fakeTools();
    await tools.install("nvidia-smi", "echo 'No devices were found'; exit 6");
    const env = { HF_HUB_OFFLINE: "1", PATH: `${tools.path}:${process.env.PATH}` };
    using asked = place({ ...env, ENABLE_GPU: "true" });
    const { code, of } = await doctor(asked.env, expect);
    expect(code).toBe(1);
    expect(of("gpu")).toMatchObject({ result: "fail", found: "none" });
    expect(of("gpu")?.hint).toContain("nvidia-smi works but shows no GPU (No devices were found): start the container");
    using welcome = place({ ...env, ENABLE_GPU: "auto" });
    expect((await doctor(welcome.env, expect)).of("gpu")).toMatchObject({ result: "warn", found: "none" });
  });

  test("a token that is not valid; no worker type, no coordinator", async ({ expect }) => {
    await using hub = await startMiniLmHub();
    using here = place({ HF_ENDPOINT: hub.url, HF_TOKEN: TOKEN });
    const { code, of } = await doctor(here.env, expect);
    expect(code).toBe(1);
    expect(of("hub")).toMatchObject({ result: "fail", found: `${hub.url} does not accept the token` });
    expect(of("coordinator")).toMatchObject({ result: "warn", found: "COORDINATOR_URL is not set" });
    expect(of("catalog")).toMatchObject({
      result: "warn",
      hint: expect.stringMatching(/^Set WORKER_TYPE to one of: /),
    });
    hub.faults.serverError = true;
    const failing = await doctor(here.env, expect);
    expect(failing.of("hub")).toMatchObject({ result: "warn", found: `${hub.url} answers with status 503` });
    const offline = await doctor({ ...here.env, HF_HUB_OFFLINE: "1" }, expect);
    expect(offline.of("hub")).toMatchObject({ result: "ok", found: "not asked (HF_HUB_OFFLINE)" });
    expect(offline.code).toBe(0);
  });

  test("gated models of the worker type are asked for one by one", async ({ expect }) => {
    const gated = (id: string) => ({
      id,
      files: { "config.json": "{}", "README.md": "hello" },
      gated: "manual" as const,
    });
    await using hub = await startHub({
      repos: [gated("acme/allowed"), gated("acme/refused"), gated("acme/stored"), gated("acme/other")],
      tokens: { [TOKEN]: { name: "somebody", gatedAccess: ["acme/allowed", "acme/stored"] } },
    });
    using here = place({ WORKER_TYPE: "chat", HF_ENDPOINT: hub.url, HF_TOKEN: TOKEN });
    const model = (repo: string) => ({
      ...{ task: "chat", license: "mit", gated: true },
      variants: [{ source: "huggingface", repo, engine: "vllm" }],
    });
    const models = {
      allowed: model("acme/allowed"),
      refused: model("acme/refused"),
      stored: model("acme/stored"),
      other: model("acme/other"),
    };
    const workerTypes = {
      chat: { gpu: "none", models: ["allowed", "refused", "stored"] },
      other: { gpu: "none", models: ["other"] },
    };
    const file = join(here.folder, "catalog.json");
    writeFileSync(file, JSON.stringify({ models, workerTypes }));
    const env = { ...here.env, WORKER_TYPES_FILE: file };
    expect((await runMuster(["sync", "stored"], env)).code).toBe(0);
    const { code, checks } = await doctor(env, expect);
    expect(code).toBe(1);
    const access = checks.filter(({ name }) => name === "access");
    expect(access.map(({ result, found }) => `${result} ${found}`)).toEqual([
      "ok acme/allowed may be fetched",
      "fail acme/refused is gated and refused (the token of HF_TOKEN was sent).",
      "ok acme/stored is on the volume already",
    ]);
    expect(access[1]?.hint).toContain(`${hub.url}/acme/refused`);
  });

  test("clocks that differ, and a hub that is slow", async ({ expect }) => {
    await using hub = await startMiniLmHub();
    hub.faults.wrongClock = { aheadMs: 600_000 };
    hub.faults.stallStart = { path: "whoami", ms: 1100 };
    using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: hub.url });
    const { code, of } = await doctor(here.env, expect);
    expect(code).toBe(0);
    expect(of("clock")).toMatchObject({
      result: "warn",
      found: expect.stringMatching(/^hub is (59|60)\d s ahead of this machine$/),
    });
    expect(of("hub")).toMatchObject({ result: "warn", hint: expect.stringContaining("slow") });
  });

  test("a coordinator that does not take the token, and an engine that does not take the key", async ({ expect }) => {
    await using coordinator = await startTestCoordinator();
    await using engine = createServer((request, response) => {
      response.writeHead(request.headers.authorization === "Bearer right-key" ? 200 : 401).end("{}");
    }).listen(0, "127.0.0.1");
    await once(engine, "listening");
    using here = place({ HF_HUB_OFFLINE: "1", ...coordinator.env });
    const env = { ...here.env, VLLM_URL: `http://127.0.0.1:${(engine.address() as AddressInfo).port}` };
    const wrong = await doctor({ ...env, COORDINATOR_TOKEN: "wrong-token", VLLM_API_KEY: "wrong-key" }, expect);
    expect(wrong.code).toBe(1);
    expect(wrong.of("coordinator")).toMatchObject({
      result: "fail",
      hint: expect.stringContaining("COORDINATOR_TOKEN"),
    });
    expect(wrong.of("vllm")).toMatchObject({
      result: "fail",
      found: expect.stringMatching(/refuses the key \(401\)$/),
    });
    expect((await doctor(env, expect)).of("vllm")?.hint).toContain("VLLM_API_KEY_FILE");
    const right = await doctor({ ...env, VLLM_API_KEY: "right-key" }, expect);
    expect(right).toMatchObject({ code: 0, ok: true });
    // Who only looks is no worker.
    expect(await coordinator.list()).toEqual([]);
  });

  test("a proxy that is not there, and authorities that cannot be read", async ({ expect }) => {
    await using hub = await startMiniLmHub();
    await using proxy = createServer((_request, response) => response.writeHead(502).end()).listen(0, "127.0.0.1");
    await once(proxy, "listening");
    using here = place({ WORKER_TYPE: "embedding", HF_ENDPOINT: "http://hub.example", OLLAMA_REGISTRY: hub.url });
    const there = `http://user:${TOKEN}@127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    const up = await doctor({ ...here.env, HTTP_PROXY: there, NO_PROXY: "127.0.0.1" }, expect);
    const way = /^127\.0\.0\.1:\d+ for hub\.example; directly: 127\.0\.0\.1:\d+, reached in \d+ ms$/;
    expect(up.of("proxy")).toMatchObject({ result: "ok", found: expect.stringMatching(way) });
    const down = `http://127.0.0.1:${await closedPort()}`;
    const notes = join(here.folder, "notes.txt");
    writeFileSync(notes, "no certificate");
    const broken = await doctor(
      { ...here.env, HTTP_PROXY: down, http_proxy: there, NODE_EXTRA_CA_CERTS: notes },
      expect,
    );
    expect(broken.of("proxy")).toMatchObject({ result: "warn", found: "http_proxy and HTTP_PROXY differ" });
    expect(broken.of("authority")).toMatchObject({ result: "fail", found: `${notes} holds no certificate` });
    const gone = await doctor({ ...here.env, HTTP_PROXY: down, NODE_EXTRA_CA_CERTS: "/none" }, expect);
    expect(gone.of("proxy")).toMatchObject({
      result: "fail",
      found: expect.stringContaining("cannot be reached (ECONNREFUSED)"),
    });
    expect(gone.of("authority")?.found).toBe("/none cannot be read as certificates (ENOENT)");
  });

  test("each place of HF_ENDPOINT is tried", async ({ expect }) => {
    await using hub = await startMiniLmHub();
    using here = place();
    const full = join(here.folder, "full");
    const empty = join(here.folder, "empty");
    mkdirSync(join(full, "base-models"), { recursive: true });
    mkdirSync(empty);
    const nowhere = `http://127.0.0.1:${await closedPort()}`;
    const env = { ...here.env, S3_ENDPOINT: nowhere, AWS_ACCESS_KEY_ID: "key", AWS_SECRET_ACCESS_KEY: "secret" };
    const places = [hub.url, full, empty, join(here.folder, "none"), "s3://models/prod"];
    const { code, checks } = await doctor({ ...env, HF_ENDPOINT: places.join(",") }, expect);
    expect(code).toBe(1);
    const found = checks.filter(({ name }) => ["hub", "mirror"].includes(name));
    expect(found.map(({ result }) => result)).toEqual(["ok", "ok", "warn", "fail", "fail"]);
    expect(found[1]?.found).toBe(`${full} has base-models`);
    expect(found[2]?.hint).toContain("muster push");
    expect(found[3]?.hint).toContain("HF_ENDPOINT");
    expect(found[4]?.hint).toContain("S3_ENDPOINT");
  });

  test("a configuration that cannot be used is told as everywhere", async ({ expect }) => {
    const { code, stdout, stderr } = await runMuster(["doctor", "--json"], { HTTP_PORT: "x" });
    expect({ code, stdout }).toEqual({ code: 78, stdout: "" });
    expect(JSON.parse(stderr).error.code).toBe("CONFIG_INVALID");
  });

  const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
  test.skipIf(!hasOpenssl)("a coordinator with a certificate of one's own authority", async ({ expect }) => {
    using here = place({ HF_HUB_OFFLINE: "1" });
    const made = spawnSync(
      "openssl",
      "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem".split(
        " ",
      ),
      { cwd: here.folder },
    );
    expect(made.status).toBe(0);
    const [cert, key] = ["cert.pem", "key.pem"].map((name) => readFileSync(join(here.folder, name)));
    const options = { host: "127.0.0.1", port: 0, workerToken: null, clientToken: null, log: quietLog };
    await using coordinator = await startCoordinator({ ...options, tls: { cert: cert!, key: key! } });
    const env = { ...here.env, COORDINATOR_URL: coordinator.wsUrl };
    const unknown = await doctor(env, expect);
    expect(unknown.of("coordinator")).toMatchObject({
      result: "fail",
      found: expect.stringContaining("The secure connection to"),
      hint: expect.stringContaining("COORDINATOR_CA_FILE"),
    });
    const known = await doctor({ ...env, COORDINATOR_CA_FILE: join(here.folder, "cert.pem") }, expect);
    expect(known.of("coordinator")?.result).toBe("ok");
  });
});
