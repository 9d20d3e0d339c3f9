import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { type Env, place, runMuster, startMuster } from "../e2e/muster.ts";
import { startTestCoordinator } from "../e2e/services.ts";
import { startHub } from "../fakes/hub/hub.ts";
import { startOllamaRegistry } from "../fakes/ollama-registry.ts";
import { causalLmRepo, seededBytes } from "../fakes/tiny-models.ts";

const { "README.md": _, ...plain } = causalLmRepo("acme/free");
const pickles = { "config.json": "{}", "pytorch_model.bin": seededBytes(5000, 1) };
const onHub = (repo: string, more: object = {}) => ({ source: "huggingface", repo, engine: "openai", ...more });
const GEMMA = "Gemma Terms of Use\n\nLast modified: April 1, 2024\n";

async function volume(env: Env = {}) {
  const closed = { id: "acme/closed", files: plain, license: "cc-by-nc-4.0" };
  const hub = await startHub({
    repos: [
      { id: "acme/free", files: plain, license: "apache-2.0" },
      closed,
      { id: "acme/silent", files: plain },
      { id: "acme/pickle", files: pickles, license: "mit" },
      { id: "acme/both", files: { ...plain, "vocab.pickle": "x" }, license: "mit" },
    ],
  });
  const registry = await startOllamaRegistry();
  registry.addModel("library/tiny:latest", { layers: { model: seededBytes(9000, 2), license: GEMMA } });
  const here = place({ HF_ENDPOINT: hub.url, OLLAMA_REGISTRY: registry.url, ...env });
  const model = (license: string | undefined, ...variants: object[]) => ({ task: "chat", license, variants });
  const models = {
    free: model(undefined, onHub("acme/free")),
    closed: model(undefined, onHub("acme/closed")),
    said: model("mit", onHub("acme/closed")),
    contract: model("LicenseRef-acme", onHub("acme/closed")),
    silent: model(undefined, onHub("acme/silent")),
    either: model(undefined, onHub("acme/closed", { id: "closed" }), onHub("acme/free", { id: "free" })),
    gemma: model(undefined, { source: "ollama", name: "tiny", engine: "ollama" }),
    pickle: model(undefined, onHub("acme/pickle", { allowPickle: true })),
    unpickled: model(undefined, onHub("acme/pickle")),
    both: model(undefined, onHub("acme/both")),
  };
  const workerTypes = {
    chat: { gpu: "none", models: ["free"], slots: { chat: 1 } },
    wrong: { gpu: "none", models: ["closed"] },
    optional: { gpu: "none", models: ["free", { model: "closed", optional: true }] },
    saved: { gpu: "none", models: ["closed"], fallback: "chat" },
  };
  const file = join(here.folder, "types.json");
  writeFileSync(file, JSON.stringify({ models, workerTypes }));
  onTestFinished(async () => {
    here[Symbol.dispose]();
    await Promise.all([hub.close(), registry[Symbol.asyncDispose]()]);
  });
  const base = { ...here.env, WORKER_TYPES_FILE: file };
  const run = async (args: string[], more: Env = {}) => {
    const { code, stdout, stderr } = await runMuster([...args, "--json"], { ...base, ...more });
    const error = code === 0 || stdout !== "" ? null : JSON.parse(stderr.trim().split("\n").at(-1)!).error;
    return { code, data: stdout ? JSON.parse(stdout) : null, error, stderr };
  };
  return { ...here, env: base, hub, closed, run };
}

const ALLOWED = { ALLOWED_LICENSES: "Apache-2.0, MIT" };

describe("ALLOWED_LICENSES", () => {
  test("is held by plan and sync, by what the source says, before a byte of weights", async () => {
    const { run, hub } = await volume(ALLOWED);
    for (const command of ["plan", "sync"]) {
      expect(await run([command, "closed"])).toMatchObject({
        code: 78,
        error: {
          code: "LICENSE_REFUSED",
          message: "acme/closed is under cc-by-nc-4.0, which ALLOWED_LICENSES does not have (apache-2.0, mit).",
        },
      });
      expect(await run([command, "said"])).toMatchObject({ code: 78, error: { code: "LICENSE_REFUSED" } });
      expect(await run([command, "hf:acme/silent"])).toMatchObject({
        code: 78,
        error: {
          message: expect.stringMatching(/^Neither the catalog nor the source says the licence of acme\/silent/),
        },
      });
      expect(await run([command, "gemma"])).toMatchObject({
        code: 78,
        error: { message: expect.stringContaining("tiny is under gemma, ") },
      });
    }
    expect(hub.bytesServed({ host: "cdn" })).toBe(0);
    const synced = await run(["sync", "free"]);
    expect(synced.code).toBe(0);
    expect((await run(["list"])).data.models).toMatchObject([{ location: "acme/free", license: "apache-2.0" }]);
  });

  test("takes the next variant, leaves out what is optional, and falls back", async () => {
    const { run } = await volume(ALLOWED);
    expect((await run(["plan", "either"])).data).toMatchObject({
      models: [{ variant: "free" }],
      refused: [{ variant: "closed", reason: expect.stringContaining("is under cc-by-nc-4.0") }],
    });
    const optional = (await run(["plan", "optional"])).data;
    expect(optional.models).toMatchObject([{ id: "free" }]);
    expect(optional.notices[0]).toMatch(/^Optional model closed is left out: acme\/closed is under cc-by-nc-4\.0/);
    const saved = (await run(["plan", "saved"])).data;
    expect(saved).toMatchObject({ workerType: "chat", models: [{ id: "free" }] });
    expect(saved.notices[0]).toMatch(/^Worker type saved cannot run here \(closed is refused: acme\/closed is under/);
  });

  test("is told by catalog check and add", async () => {
    const { run } = await volume({ ...ALLOWED, PICKLE_POLICY: "refuse" });
    const { code, data } = await run(["catalog", "check"]);
    expect(code).toBe(0);
    const found = data.findings.map(({ path, found: what }: { path: string; found: string }) => `${path}: ${what}`);
    expect(found).toContain(
      "models.contract.license: contract is under LicenseRef-acme, which ALLOWED_LICENSES does not have (apache-2.0, mit)",
    );
    expect(found).toContain(
      "models.pickle.variants[0].allowPickle: allows pickles, and PICKLE_POLICY=refuse lets none in",
    );
    expect((await run(["catalog", "add", "hf:acme/closed", "--as", "again"])).data.models[0].notes).toContain(
      "acme/closed is under cc-by-nc-4.0, which ALLOWED_LICENSES does not have (apache-2.0, mit).",
    );
  });

  test("lets in unknown ones where that is said, and one's own terms", async () => {
    const { run } = await volume();
    expect((await run(["plan", "silent"], { ALLOWED_LICENSES: "mit,unknown" })).code).toBe(0);
    expect((await run(["plan", "contract"], ALLOWED)).code).toBe(78);
    expect((await run(["plan", "contract"], { ALLOWED_LICENSES: "mit,licenseref-acme" })).code).toBe(0);
    expect((await run(["plan", "gemma"], { ALLOWED_LICENSES: "gem*" })).code).toBe(0);
  });

  test("with LICENSE_POLICY=warn only tells", async () => {
    const { run } = await volume({ ...ALLOWED, LICENSE_POLICY: "warn" });
    const { code, data } = await run(["plan", "closed"]);
    expect(code).toBe(0);
    expect(data.notices).toEqual([
      "acme/closed is under cc-by-nc-4.0, which ALLOWED_LICENSES does not have (apache-2.0, mit). It is taken all the same (LICENSE_POLICY=warn)",
    ]);
    expect((await run(["sync", "closed"])).code).toBe(0);
    const doctor = await run(["doctor"]);
    expect(doctor.data.checks).toContainEqual(
      expect.objectContaining({ name: "licences", result: "warn", found: expect.stringContaining("cc-by-nc-4.0") }),
    );
    expect(await run(["plan"], { ALLOWED_LICENSES: "" })).toMatchObject({
      code: 78,
      error: { code: "CONFIG_INVALID" },
    });
  });

  test("is held of what is on the volume, also without a network", async () => {
    const { run } = await volume();
    expect((await run(["sync", "closed", "free"])).code).toBe(0);
    const offline = { ...ALLOWED, HF_HUB_OFFLINE: "1" };
    expect(await run(["sync", "closed"], offline)).toMatchObject({ code: 78, error: { code: "LICENSE_REFUSED" } });
    expect((await run(["sync", "free"], offline)).code).toBe(0);
    const doctor = await run(["doctor"], offline);
    expect(doctor.data.checks).toContainEqual(expect.objectContaining({ name: "licences", result: "fail" }));
  });

  test("is held where the plan could not ask, once the source can be asked", async () => {
    const { run, hub } = await volume(ALLOWED);
    // A plan asks twice, and goes by the catalog, which says mit.
    hub.faults.serverError = { path: "/api/models/acme/closed", status: 503, times: 2 };
    const { code, data, stderr } = await run(["sync", "said"]);
    expect(stderr).toContain("Nothing is known beforehand of acme/closed");
    expect(code).toBe(78);
    expect(data.models).toMatchObject([{ state: "failed", error: { code: "LICENSE_REFUSED" } }]);
    expect(hub.bytesServed({ host: "cdn" })).toBe(0);
  });

  test("ends a start, and is told to a coordinator that asks for another model", async () => {
    const { env } = await volume({ ...ALLOWED, MODEL_POLICY: "any", OPENAI_URL: "http://127.0.0.1:9" });
    const { code, stdout } = await runMuster(["start"], { ...env, WORKER_TYPE: "wrong" });
    expect(code).toBe(78);
    expect(stdout).toContain("acme/closed is under cc-by-nc-4.0");
    await using coordinator = await startTestCoordinator();
    await using agent = startMuster(["start"], { ...env, ...coordinator.env, WORKER_TYPE: "chat" });
    await coordinator.worker("registered", ({ models }) => models.some(({ state }) => state === "stored"));
    const authorization = `Bearer ${coordinator.env.COORDINATOR_TOKEN}`;
    await fetch(`${coordinator.url}/v1/models`, {
      method: "POST",
      headers: { authorization, "content-type": "application/json" },
      body: JSON.stringify({ model: "hf:acme/closed" }),
    });
    const { models } = await coordinator.worker("refusing", (worker) =>
      worker.models.some(({ model, state }) => model === "hf:acme/closed" && state === "failed"),
    );
    expect(models.find(({ model }) => model === "hf:acme/closed")?.error).toContain("is under cc-by-nc-4.0");
    agent.kill("SIGTERM");
  });
});

describe("an import and an update", () => {
  test("are held against the policy, and leave what is there", async () => {
    const { run, hub, folder, env } = await volume();
    expect((await run(["sync", "closed", "free"])).code).toBe(0);
    const bundle = join(folder, "bundle.tar");
    expect((await run(["export", "acme/closed", "acme/free", bundle])).code).toBe(0);
    const elsewhere = { MODEL_CACHE_DIR: join(folder, "elsewhere") };
    mkdirSync(elsewhere.MODEL_CACHE_DIR);
    const imported = await runMuster(["import", bundle, "--json"], { ...env, ...elsewhere, ...ALLOWED });
    expect(imported.code).toBe(78);
    expect(JSON.parse(imported.stdout).bundles[0].models).toMatchObject([
      { location: "acme/closed", state: "failed", error: { code: "LICENSE_REFUSED" } },
      { location: "acme/free", state: "imported", error: null },
    ]);
    const before = (await run(["show", "acme/free"])).data.models[0].revision;
    hub.updateRepo("acme/free", { "vocab.pickle": "x" });
    const refused = await run(["update", "acme/free"], { PICKLE_POLICY: "refuse" });
    expect(refused.code).toBe(78);
    expect(JSON.stringify(refused.data ?? refused.error)).toContain("PICKLE_REFUSED");
    expect((await run(["show", "acme/free"])).data.models[0].revision).toBe(before);
    // Back to a kept revision goes without the network, and not around the policy.
    expect((await run(["update", "acme/free"])).code).toBe(0);
    expect((await run(["update", "acme/free", "--to", "previous"])).code).toBe(0);
    const forth = await run(["update", "acme/free", "--to", "previous"], { PICKLE_POLICY: "refuse" });
    expect(forth.code).toBe(78);
    expect(
      (await run(["show", "acme/free"])).data.models.find((each: { keptOf: unknown }) => !each.keptOf).revision,
    ).toBe(before);
  });

  test("are planned as they would go, and tell of what LICENSE_POLICY=warn lets in", async () => {
    const { run, hub, folder } = await volume();
    expect((await run(["sync", "closed"])).code).toBe(0);
    const bundle = join(folder, "bundle.tar");
    expect((await run(["export", "acme/closed", bundle])).code).toBe(0);
    const elsewhere = { MODEL_CACHE_DIR: join(folder, "elsewhere") };
    mkdirSync(elsewhere.MODEL_CACHE_DIR);
    hub.updateRepo("acme/closed", { "config.json": "{}" });
    const planned = await run(["update", "acme/closed", "--dry-run"], ALLOWED);
    expect(planned).toMatchObject({
      code: 78,
      data: { models: [{ state: "failed", error: { code: "LICENSE_REFUSED" } }] },
    });
    const refused = await run(["import", bundle, "--dry-run"], { ...ALLOWED, ...elsewhere });
    expect(refused).toMatchObject({
      code: 78,
      data: { bundles: [{ missingBytes: 0, models: [{ state: "failed", error: { code: "LICENSE_REFUSED" } }] }] },
    });
    const warn = { ...ALLOWED, LICENSE_POLICY: "warn" };
    const notice = expect.stringMatching(/^acme\/closed is under cc-by-nc-4\.0, .+ taken all the same/);
    expect(await run(["update", "acme/closed"], warn)).toMatchObject({
      code: 0,
      data: { notices: [notice], models: [{ state: "updated" }] },
    });
    expect(await run(["import", bundle], { ...warn, ...elsewhere })).toMatchObject({
      code: 0,
      data: { bundles: [{ models: [{ state: "imported", notice }] }] },
    });
    // Nothing moves any more, and nothing is told.
    expect((await run(["update", "acme/closed"], warn)).data.notices).toEqual([]);
  });

  test("go by the licence that a model has now", async () => {
    const { run, hub, closed } = await volume();
    expect((await run(["sync", "closed"])).code).toBe(0);
    closed.license = "mit";
    hub.updateRepo("acme/closed", { "config.json": "{}" });
    expect(await run(["update", "acme/closed"], ALLOWED)).toMatchObject({
      code: 0,
      data: { models: [{ state: "updated" }] },
    });
    expect((await run(["list"])).data.models).toContainEqual(
      expect.objectContaining({ location: "acme/closed", license: "mit", keptOf: null }),
    );
  });
});

describe("PICKLE_POLICY", () => {
  test("refuses pickles whatever the catalog says, also on the volume", async () => {
    const { run } = await volume();
    expect((await run(["sync", "pickle"])).code).toBe(0);
    expect((await run(["list"])).data.models).toMatchObject([{ location: "acme/pickle", pickles: 1 }]);
    expect((await run(["verify"])).data.models).toMatchObject([{ pickles: ["pytorch_model.bin"] }]);
    const { checks } = (await run(["doctor"])).data;
    expect(checks).toContainEqual(expect.objectContaining({ name: "pickles", result: "warn" }));
    const refuse = { PICKLE_POLICY: "refuse" };
    for (const more of [refuse, { ...refuse, HF_HUB_OFFLINE: "1" }])
      expect(await run(["sync", "pickle"], more)).toMatchObject({
        code: 78,
        error: { message: expect.stringContaining("PICKLE_POLICY=refuse lets none in") },
      });
    expect((await run(["doctor"], refuse)).data.checks).toContainEqual(
      expect.objectContaining({ name: "pickles", result: "fail" }),
    );
    expect(await run(["plan", "both"], refuse)).toMatchObject({ code: 78, error: { code: "PICKLE_REFUSED" } });
    expect((await run(["plan", "free"], refuse)).code).toBe(0);
  });

  test("goes by the catalog otherwise, or lets in all of them", async () => {
    const { run } = await volume();
    expect(await run(["plan", "unpickled"])).toMatchObject({ code: 78, error: { code: "PICKLE_REFUSED" } });
    expect((await run(["sync", "unpickled"], { PICKLE_POLICY: "allow" })).code).toBe(0);
  });
});
