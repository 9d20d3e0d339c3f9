import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { SyncProgress } from "../../src/fetch/sync-models.ts";
import { registerSecret } from "../../src/redact.ts";
import { createLayout } from "../../src/store/layout.ts";
import { readManifest } from "../../src/store/manifest.ts";
import { type Hub, startHub } from "../fakes/hub/hub.ts";
import { causalLmRepo, ggufRepo, seededBytes, sentenceTransformerRepo } from "../fakes/tiny-models.ts";
import { temporaryFolder } from "../store/temporary-folder.ts";
import { modelSpec } from "./sync-context.ts";
import { bytesOf, differences, filesBelow, outcomeOf, startSync, sync, wrongBlobs } from "./volume.ts";

const tiny = causalLmRepo("acme/tiny", { withDuplicates: true });
/** What of it an engine needs. */
const needed = Object.fromEntries(
  Object.entries(tiny).filter(([path]) => !/^(\.git|consolidated|original|pytorch_model)/.test(path)),
);
const odd = {
  "config.json": "{}",
  "a b/c#d?e%41 ü日本.txt": "odd",
  "deep/er/and deeper/one.txt": "one",
  "deep/er/and deeper/two.txt": "one",
  "empty.txt": "",
  "model one.safetensors": seededBytes(100_000, 1),
  "twin #2.safetensors": seededBytes(100_000, 1),
  "empty.safetensors": "",
};
const sizeOf = (files: Record<string, Parameters<typeof bytesOf>[0]>) =>
  Object.values(files).reduce((sum, source) => sum + bytesOf(source).length, 0);

let hub: Hub;
let commit: string;
let volume: string;
beforeAll(async () => {
  registerSecret("hf_ofthelistofbob");
  hub = await startHub({
    tokens: { hf_ofthelistofbob: { name: "bob", gatedAccess: ["acme/gated"] }, "mirror-token": { name: "eve" } },
    repos: [
      { id: "acme/odd", files: odd },
      { id: "acme/gated", files: odd, gated: "manual" },
      { id: "acme/minilm", files: sentenceTransformerRepo("acme/minilm") },
      { id: "acme/quants-GGUF", files: ggufRepo("acme/quants-GGUF") },
      { id: "acme/pickled", files: { "config.json": "{}", "pytorch_model.bin": seededBytes(5000, 2) } },
    ],
  });
  commit = hub.addRepo({ id: "acme/tiny", files: tiny }).commit;
});
beforeEach(() => {
  hub.reset();
  volume = temporaryFolder();
});
afterAll(() => hub.close());

const repoFolder = (id: string) => join(volume, "huggingface", "hub", `models--${id.replace("/", "--")}`);
const layout = () => createLayout(volume, join(volume, "huggingface", "hub"), join(volume, "ollama"));
const input = () => ({ endpoint: hub.url, volume });

async function fetched(id: string, change: Parameters<typeof modelSpec>[1] = {}) {
  const run = await sync(input(), [modelSpec(id, change)]);
  expect(run.outcome.error).toBeNull();
  return { ...run, stored: run.outcome.stored! };
}

describe("a model", () => {
  it("is fetched whole and right, and recorded", async () => {
    const { stored, outcome } = await fetched("acme/tiny");
    expect(differences(stored.path, needed)).toEqual([]);
    expect(stored).toMatchObject({
      source: "huggingface",
      location: "acme/tiny",
      requestedRevision: "main",
      revision: commit,
      path: join(repoFolder("acme/tiny"), "snapshots", commit),
      bytes: sizeOf(needed),
      license: "apache-2.0",
    });
    expect(outcome.fetchedBytes).toBe(sizeOf(needed));
    // config.json is read once more, for the plan.
    expect(hub.bytesServed()).toBe(sizeOf(needed) + bytesOf(tiny["config.json"]!).length);
    expect(wrongBlobs(repoFolder("acme/tiny"))).toEqual([]);
    expect(readFileSync(join(repoFolder("acme/tiny"), "refs", "main"), "utf8")).toBe(commit);
    expect(await readManifest(layout(), stored.key)).toEqual(stored);
    // Nothing of the work is left behind.
    expect(filesBelow(join(repoFolder("acme/tiny"), ".muster"))).toEqual([]);
  });

  it("that is there costs no request and no byte", async () => {
    const first = await fetched("acme/tiny");
    hub.reset();
    const { stored, outcome } = await fetched("acme/tiny");
    expect([stored, outcome.fetchedBytes, hub.requests]).toEqual([first.stored, 0, []]);
  });

  it("may hold empty files, the same content twice, and names of every kind", async () => {
    const { stored, outcome } = await fetched("acme/odd");
    expect(differences(stored.path, odd)).toEqual([]);
    const once = sizeOf(odd) - 100_000 - "one".length;
    expect([outcome.fetchedBytes, hub.bytesServed()]).toEqual([once, once + "{}".length]);
    const { path } = stored;
    expect(readlinkSync(join(path, "deep/er/and deeper/two.txt"))).toBe(
      readlinkSync(join(path, "deep/er/and deeper/one.txt")),
    );
    hub.reset();
    await fetched("acme/odd");
    expect(hub.requests).toEqual([]);
  });

  it("is fetched in the files an engine needs, each repository in its own way", async () => {
    const minilm = await fetched("acme/minilm");
    expect(filesBelow(minilm.stored.path)).toContain("1_Pooling/config.json");
    expect(filesBelow(minilm.stored.path).filter((path) => /\.(bin|h5|ot|onnx|xml|safetensors)$/.test(path))).toEqual([
      "model.safetensors",
    ]);
    const quants = await fetched("acme/quants-GGUF", { format: "gguf", quantization: "Q8_0", engine: "ollama" });
    expect(filesBelow(quants.stored.path)).toEqual(["README.md", "quants.Q8_0.gguf"]);
    const refused = await sync(input(), [modelSpec("acme/pickled")]);
    expect(refused.outcome.error).toMatchObject({ code: "PICKLE_REFUSED" });
    expect(existsSync(repoFolder("acme/pickled"))).toBe(false);
    const allowed = await fetched("acme/pickled", { allowPickle: true });
    expect(filesBelow(allowed.stored.path)).toEqual(["config.json", "pytorch_model.bin"]);
  });

  it("can be asked for by tag, pull request and commit", async () => {
    hub.setRevision("acme/odd", "v1", hub.updateRepo("acme/odd", { "new.txt": "v1" }, "next").commit, "tag");
    hub.setRevision("acme/odd", "refs/pr/1", hub.updateRepo("acme/odd", { "new.txt": "pr" }, "next").commit);
    for (const [revision, text] of [
      ["v1", "v1"],
      ["refs/pr/1", "pr"],
    ] as const) {
      const { stored } = await fetched("acme/odd", { revision });
      expect(readFileSync(join(stored.path, "new.txt"), "utf8")).toBe(text);
      const ref = readFileSync(join(repoFolder("acme/odd"), "refs", revision), "utf8");
      expect(ref).toBe(stored.revision);
    }
    const pinned = await fetched("acme/tiny", { revision: commit });
    expect(pinned.stored).toMatchObject({ revision: commit, requestedRevision: commit });
    expect(existsSync(join(repoFolder("acme/tiny"), "refs"))).toBe(false);
    hub.reset();
    await fetched("acme/tiny", { revision: commit });
    expect(hub.requests).toEqual([]);
  });

  it("in two choices of its files shares what they have in common", async () => {
    await fetched("acme/tiny", { include: ["*.json"] });
    hub.reset();
    const { outcome, stored } = await fetched("acme/tiny");
    const json = Object.fromEntries(Object.entries(needed).filter(([path]) => path.endsWith(".json")));
    expect(outcome.fetchedBytes).toBe(sizeOf(needed) - sizeOf(json));
    expect(filesBelow(stored.path)).toEqual(expect.arrayContaining(Object.keys(needed).sort()));
  });
});

describe("what is damaged", () => {
  it("is fetched again, alone and without questions about the repository", async () => {
    const { stored } = await fetched("acme/tiny");
    const shard = Object.keys(needed).find((path) => path.endsWith("1-of-00002.safetensors"))!;
    const damages: [string, () => void][] = [
      [shard, () => truncateSync(join(stored.path, shard), 1000)],
      [shard, () => appendFileSync(join(stored.path, shard), "x")],
      [
        "config.json",
        () => rmSync(join(dirname(join(stored.path, "x")), readlinkSync(join(stored.path, "config.json")))),
      ],
    ];
    for (const [path, damage] of damages) {
      damage();
      hub.reset();
      const { outcome } = await fetched("acme/tiny");
      expect(differences(stored.path, needed)).toEqual([]);
      expect([outcome.fetchedBytes, hub.bytesServed()]).toEqual([
        bytesOf(tiny[path]!).length,
        bytesOf(tiny[path]!).length,
      ]);
      expect(hub.requests.filter((request) => request.path.startsWith("/api/"))).toEqual([]);
      expect(wrongBlobs(repoFolder("acme/tiny"))).toEqual([]);
    }
  });

  it("in the snapshot only is put right without a byte", async () => {
    const { stored } = await fetched("acme/tiny");
    rmSync(join(stored.path, "config.json"));
    hub.reset();
    await fetched("acme/tiny");
    expect([differences(stored.path, needed), hub.requests]).toEqual([[], []]);
    rmSync(stored.path, { recursive: true });
    await fetched("acme/tiny");
    expect([differences(stored.path, needed), hub.requests]).toEqual([[], []]);
  });

  it("in the record or the ref only is put right without a byte of the weights", async () => {
    const { stored } = await fetched("acme/tiny");
    for (const path of [layout().manifest(stored.key), join(repoFolder("acme/tiny"), "refs", "main")]) {
      rmSync(path);
      hub.reset();
      const again = await fetched("acme/tiny");
      expect(again.outcome.fetchedBytes).toBe(0);
      expect(hub.requests.filter(({ file }) => file && file !== "config.json")).toEqual([]);
      expect(existsSync(path)).toBe(true);
    }
  });
});

describe("blobs of another tool", () => {
  const names = Object.keys(needed);
  const adopt = async () => {
    await fetched("acme/tiny");
    // As Python leaves them: blobs, snapshot and ref, and no record of ours.
    rmSync(join(volume, ".muster"), { recursive: true });
    hub.reset();
  };

  it("are taken over after a look at their digests, without a byte", async () => {
    await adopt();
    const { stored, outcome } = await fetched("acme/tiny");
    expect(outcome.fetchedBytes).toBe(0);
    expect(hub.requests.filter(({ file }) => file && file !== "config.json")).toEqual([]);
    expect(differences(stored.path, needed)).toEqual([]);
  });

  it("and those of a run that was interrupted are brought to the disk before a record vouches for them", async () => {
    const many = Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`part/${index}.txt`, `file ${index}`]));
    hub.addRepo({ id: "acme/many", files: many });
    const records = join(volume, ".muster", "models");
    const tools = temporaryFolder();
    const log = join(tools, "log");
    // In place of the system's: notes whether the record is there already.
    writeFileSync(join(tools, "sync"), `#!/bin/sh\nls "${records}" | wc -l >> "${log}"\n`, { mode: 0o755 });
    const run = async () => {
      writeFileSync(log, "");
      const child = startSync(input(), [modelSpec("acme/many")], { before: `PATH=${tools}:$PATH` });
      expect((await outcomeOf(child)).error).toBeNull();
      return readFileSync(log, "utf8").trim();
    };
    expect(await run()).toBe("0");
    rmSync(records, { recursive: true });
    mkdirSync(records);
    expect(await run()).toBe("0");
    expect(await run()).toBe("");
  });

  it("that are broken are fetched again, whatever their size says", async () => {
    await adopt();
    const snapshot = join(repoFolder("acme/tiny"), "snapshots", commit);
    const [first = "", second = ""] = names.filter((path) => path.endsWith(".safetensors"));
    const flipped = Buffer.from(bytesOf(tiny[first]!));
    flipped[flipped.length >> 1]! ^= 1;
    writeFileSync(join(snapshot, first), flipped);
    truncateSync(join(snapshot, second), 10);
    expect(wrongBlobs(repoFolder("acme/tiny"))).toHaveLength(2);
    const { stored, outcome } = await fetched("acme/tiny");
    expect(outcome.fetchedBytes).toBe(bytesOf(tiny[first]!).length + bytesOf(tiny[second]!).length);
    expect([wrongBlobs(repoFolder("acme/tiny")), differences(stored.path, needed)]).toEqual([[], []]);
  });

  it("that another tool has not finished are left to it", async () => {
    const blobs = join(repoFolder("acme/tiny"), "blobs");
    mkdirSync(blobs, { recursive: true });
    const foreign = [`${"a".repeat(64)}.incomplete`, `${"b".repeat(64)}.12345678.incomplete`];
    for (const name of foreign) writeFileSync(join(blobs, name), "unfinished");
    await fetched("acme/tiny");
    for (const name of foreign) expect(readFileSync(join(blobs, name), "utf8")).toBe("unfinished");
    expect(
      readdirSync(blobs)
        .filter((name) => !/^[0-9a-f]{40,64}$/.test(name))
        .sort(),
    ).toEqual(foreign);
  });
});

describe("progress", () => {
  it("begins with what is there and ends with all of it, and no step changes afterwards", async () => {
    const { stored, progress } = await fetched("acme/tiny");
    const total = sizeOf(needed);
    expect(progress[0]).toMatchObject({ state: "fetching", bytesDone: 0, bytesTotal: total, revision: commit });
    expect(progress.at(-1)).toMatchObject({ state: "stored", bytesDone: total, bytesTotal: total, error: null });
    const done = progress.map(({ bytesDone }) => bytesDone);
    expect(done).toEqual(done.toSorted((a, b) => a - b));
    expect(new Set<SyncProgress>(progress).size).toBe(progress.length);

    rmSync(join(stored.path, "config.json"));
    truncateSync(join(stored.path, "model-00001-of-00002.safetensors"), 0);
    const again = await fetched("acme/tiny");
    const missing = bytesOf(tiny["model-00001-of-00002.safetensors"]!).length;
    expect(again.progress[0]).toMatchObject({ state: "fetching", bytesDone: total - missing });
  });
});

describe("a gated model", () => {
  it("is refused without a token and with that of another, and nothing is left on the volume", async () => {
    for (const token of [undefined, "mirror-token"]) {
      const { outcome, progress } = await sync({ ...input(), ...(token && { token }) }, [modelSpec("acme/gated")]);
      expect(outcome).toMatchObject({ stored: null, error: { code: "MODEL_GATED" } });
      expect(outcome.error!.hint).toContain(`${hub.url}/acme/gated`);
      expect(progress.at(-1)).toMatchObject({ state: "failed", error: { code: "MODEL_GATED" } });
      expect(existsSync(repoFolder("acme/gated"))).toBe(false);
    }
  });

  it("is fetched with the right token, which the CDN never sees", async () => {
    const { outcome } = await sync({ ...input(), token: "hf_ofthelistofbob" }, [modelSpec("acme/gated")]);
    expect(outcome.error).toBeNull();
    expect(differences(outcome.stored!.path, odd)).toEqual([]);
    const atCdn = hub.requests.filter(({ host }) => host === "cdn");
    expect(atCdn.length).toBeGreaterThan(0);
    expect(atCdn.filter(({ authorization }) => authorization)).toEqual([]);
    expect(hub.requests.filter(({ host, authorization }) => host === "hub" && !authorization)).toEqual([]);
  });
});

describe("offline", () => {
  it("is enough where everything is there", async () => {
    await fetched("acme/tiny");
    hub.reset();
    const { outcome } = await sync({ ...input(), offline: true }, [modelSpec("acme/tiny")]);
    expect([outcome.error, outcome.stored?.revision, hub.requests]).toEqual([null, commit, []]);
  });

  it("says what is missing and how to get it, and asks nobody", async () => {
    const never = await sync({ ...input(), offline: true }, [modelSpec("acme/tiny")]);
    expect(never.outcome.error).toMatchObject({
      code: "OFFLINE_MISSING",
      hint: expect.stringContaining("muster sync"),
    });
    const { stored } = await fetched("acme/tiny");
    rmSync(join(dirname(join(stored.path, "x")), readlinkSync(join(stored.path, "config.json"))));
    hub.reset();
    const { outcome } = await sync({ ...input(), offline: true }, [modelSpec("acme/tiny")]);
    expect(outcome.error).toMatchObject({ code: "OFFLINE_MISSING" });
    expect(outcome.error!.message).toContain("acme/tiny");
    expect(hub.requests).toEqual([]);
  });

  it("is enough where only links are missing", async () => {
    const { stored } = await fetched("acme/tiny");
    rmSync(join(stored.path, "config.json"));
    const { outcome } = await sync({ ...input(), offline: true }, [modelSpec("acme/tiny")]);
    expect([outcome.error, differences(stored.path, needed)]).toEqual([null, []]);
  });
});

describe("several models", () => {
  it("are fetched side by side, and one that fails does not keep the others", async () => {
    const specs = ["acme/tiny", "acme/nothing", "acme/odd"].map((id) => modelSpec(id));
    const { outcomes, progress } = await sync(input(), specs);
    expect(outcomes.map(({ error }) => error?.code ?? null)).toEqual([null, "REPO_NOT_FOUND", null]);
    expect(outcomes.map(({ spec }) => spec.id)).toEqual(specs.map(({ id }) => id));
    expect(differences(outcomes[0]!.stored!.path, needed)).toEqual([]);
    expect(differences(outcomes[2]!.stored!.path, odd)).toEqual([]);
    expect(progress.filter(({ state }) => state === "failed")).toHaveLength(1);
  });

  it("of one repository wait for each other and fetch each file once", async () => {
    const specs = [
      modelSpec("acme/tiny"),
      modelSpec("acme/tiny"),
      modelSpec("acme/tiny", { include: ["config.json"] }),
    ];
    const { outcomes } = await sync(input(), specs);
    expect(outcomes.map(({ error }) => error)).toEqual([null, null, null]);
    expect(outcomes.reduce((sum, { fetchedBytes }) => sum + fetchedBytes, 0)).toBe(sizeOf(needed));
    expect(hub.bytesServed({ host: "cdn" })).toBe(
      sizeOf(Object.fromEntries(Object.entries(needed).filter(([path]) => /\.(safetensors|model)$/.test(path)))),
    );
  });
});
