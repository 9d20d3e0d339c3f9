import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { httpOf, runMuster, startMuster } from "../e2e/muster.ts";
import { holdWeights } from "../e2e/services.ts";
import type { FileSource } from "../fakes/hub/hub.ts";
import { seededBytes } from "../fakes/tiny-models.ts";
import { bytesOf, differences } from "../fetch/volume.ts";
import { until } from "../until.ts";
import { BIG, CHAT, repos, TINY, type VolumePlace, volumePlace } from "./volume-place.ts";

interface Listed {
  models: {
    key: string;
    location: string;
    revision: string;
    complete: boolean;
    keptOf: string | null;
    pinned: boolean;
  }[];
}
interface Moved {
  models: {
    location: string;
    state: string;
    revision: string;
    latestRevision: string;
    changedFiles: string[];
    goneFiles: string[];
    bytesToFetch: number | null;
    bytesFetched: number;
    removedRevisions: string[];
    stillUsedRevisions: string[];
    error: { code: string } | null;
  }[];
}

const SHARD = "model-00001-of-00002.safetensors";
const CHANGED = {
  [SHARD]: seededBytes(400 << 10, 77),
  "config.json": '{"model_type":"llama"}',
  "tokenizer.json": null,
};
const CHANGED_BYTES = bytesOf(CHANGED[SHARD] as Uint8Array).length + bytesOf(CHANGED["config.json"] as string).length;

let at: VolumePlace;
let before: string;
const volume = (...path: string[]) => join(at.here.volume, ...path);
const run = (...args: string[]) => runMuster(args, at.env);
const snapshot = (revision: string) => volume("huggingface/hub/models--acme--tiny/snapshots", revision);
const ref = () => readFileSync(volume("huggingface/hub/models--acme--tiny/refs/main"), "utf8");
const current = (location: string) => revisions(location).current;
/** A model's revision by its records, and those that are kept of it. */
function revisions(location: string): { current: string; kept: string[] } {
  const folder = volume(".muster/models");
  const records = at.records().map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")));
  const own = records.filter((record) => record.location === location);
  return {
    current: own.find(({ kept }) => !kept)?.revision,
    kept: own.filter(({ kept }) => kept).map(({ revision }) => revision),
  };
}
/** The repository as it is at its source now, in the files that are fetched. */
const wanted = () => {
  const all: Record<string, FileSource | null> = { ...repos[TINY], ...CHANGED };
  const { ".gitattributes": _, "tokenizer.json": __, ...files } = all;
  return files as Record<string, FileSource>;
};
const old = () => {
  const { ".gitattributes": _, ...files } = repos[TINY]!;
  return files;
};
const moveTiny = () => at.hub.updateRepo(TINY, CHANGED).commit;
const moveChat = (seed = 55) => {
  const layers = { model: seededBytes(300 << 10, seed), projector: seededBytes(700 << 10, 4) };
  at.registry.addModel(`library/${CHAT}:latest`, { layers });
};

beforeEach(async () => {
  at = await volumePlace();
  const place = at;
  onTestFinished(() => place[Symbol.asyncDispose]());
  before = current(TINY);
});

describe("outdated", () => {
  it("tells what has moved, and what fetching it takes; a source that is silent does not lose the others", async () => {
    expect(await run("outdated")).toMatchObject({ code: 0, stdout: "0 of 4 models have moved\n" });
    const commit = moveTiny();
    moveChat();
    at.hub.reset();
    at.registry.reset();
    const { code, stdout } = await run("outdated", "--json");
    expect(code).toBe(1);
    const { models } = JSON.parse(stdout) as Moved;
    const [tiny, chat] = [TINY, CHAT].map((name) => models.find(({ location }) => location === name)!);
    expect(tiny).toMatchObject({ state: "outdated", revision: before, latestRevision: commit });
    expect(tiny!.changedFiles.toSorted()).toEqual(["config.json", SHARD]);
    expect(tiny!.goneFiles).toEqual(["tokenizer.json"]);
    expect(tiny!.bytesToFetch).toBe(CHANGED_BYTES);
    // The layer that is in the volume already costs nothing.
    expect(chat).toMatchObject({ state: "outdated", bytesToFetch: 300 << 10 });
    expect(at.hub.bytesServed({ file: SHARD })).toBe(0);

    const { stdout: text } = await run("outdated", "tiny");
    expect(text).toMatch(
      /^MODEL +STORED +LATEST +CHANGED FILES +TO FETCH\nhuggingface:acme\/tiny +main \(\w+\) +\w{12} +2 of \d+ +/,
    );
    at.registry.onRequest = () => Promise.reject(new Error("away"));
    const half = await runMuster(["outdated"], { ...at.env, OLLAMA_REGISTRY: "http://127.0.0.1:9" });
    expect(half).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/\n1 of 4 models have moved, 2 could not be/),
    });
    expect(half.stderr).toMatch(/^warning HOST_UNREACHABLE: /m);
    const silent = await runMuster(["outdated", "chat"], { ...at.env, OLLAMA_REGISTRY: "http://127.0.0.1:9" });
    expect(silent.code).toBe(75);
  });
});

describe("update", () => {
  it("fetches what has changed and nothing else, keeps the revision before, and is back there at once", async () => {
    const commit = moveTiny();
    const planned = await at.json<Moved>("update", "--dry-run");
    expect(planned.models.map(({ location, state }) => [location, state])).toContainEqual([TINY, "planned"]);
    expect(current(TINY)).toBe(before);
    at.hub.reset();
    const { stdout } = await run("update");
    expect(stdout).toMatch(/huggingface:acme\/tiny .+\nUpdated 1 of 4 models, .+ fetched now\n$/s);
    // What was asked for a plan besides is config.json.
    expect(at.hub.bytesServed({ file: SHARD })).toBe(CHANGED[SHARD]!.length);
    expect(at.hub.bytesServed({ file: BIG })).toBe(0);
    expect(revisions(TINY)).toEqual({ current: commit, kept: [before] });
    expect(ref()).toBe(commit);
    expect(differences(snapshot(commit), wanted())).toEqual([]);
    expect(differences(snapshot(before), old())).toEqual([]);
    const { stdout: shown } = await run("show", "tiny");
    expect(shown).toMatch(new RegExp(`^kept revision +${before} \\(since .+\\)$`, "m"));
    expect((await run("list")).stdout).toMatch(
      /^huggingface:acme\/tiny .+ kept .+\n[\s\S]+^4 models, .+; 1 kept revision$/m,
    );

    at.hub.reset();
    const offline = { ...at.env, HF_HUB_OFFLINE: "1" };
    expect((await runMuster(["update", "tiny", "--to", "previous"], offline)).code).toBe(0);
    expect(revisions(TINY)).toEqual({ current: before, kept: [commit] });
    expect(ref()).toBe(before);
    expect((await runMuster(["update", "tiny", "--to", commit.slice(0, 12)], offline)).code).toBe(0);
    expect(revisions(TINY)).toEqual({ current: commit, kept: [before] });
    expect(at.hub.requests).toEqual([]);
    // A worker takes what is there.
    expect(await run("sync", "all")).toMatchObject({ code: 0, stdout: expect.stringMatching(/ 0 B fetched now\n$/) });
    expect(current(TINY)).toBe(commit);
    expect(await run("verify")).toMatchObject({ code: 0, stdout: expect.stringMatching(/5 of 5 models are right/) });
  });

  it("takes an Ollama tag on and back, as a server sees it too", async () => {
    const first = current(CHAT);
    const manifest = () =>
      JSON.parse(readFileSync(volume("ollama/manifests/registry.ollama.ai/library/chat/latest"), "utf8"));
    const weights = manifest().layers[0].digest;
    moveChat();
    at.registry.reset();
    expect(await run("update", "chat")).toMatchObject({ code: 0 });
    const config = 59;
    expect(at.registry.bytesServed()).toBeGreaterThanOrEqual(300 << 10);
    expect(at.registry.bytesServed()).toBeLessThan((300 << 10) + 4 * config + (128 << 10));
    expect(manifest().layers[0].digest).not.toBe(weights);
    expect(revisions(CHAT).kept).toEqual([first]);
    const offline = { ...at.env, HF_HUB_OFFLINE: "1" };
    expect((await runMuster(["update", "chat", "--to", "previous"], offline)).code).toBe(0);
    expect(manifest().layers[0].digest).toBe(weights);
    expect(await run("verify")).toMatchObject({ code: 0 });
    // Both go with the model, but for what another has as well.
    expect(await run("remove", "chat", "--yes")).toMatchObject({ code: 0 });
    expect(at.records()).toHaveLength(3);
    expect(await run("verify")).toMatchObject({ code: 0 });
  });

  it("keeps KEEP_REVISIONS, what is pinned, and what a running worker began with", async () => {
    const agent = startMuster(["start"], { ...at.env, WORKER_TYPE: "both" });
    onTestFinished(() => agent[Symbol.asyncDispose]());
    await httpOf(agent);
    await agent.line(/Ready: every required model/);
    const second = moveTiny();
    const env = { ...at.env, KEEP_REVISIONS: "0" };
    const update = async () => {
      const { code, stdout } = await runMuster(["update", "tiny", "--json"], env);
      expect(code).toBe(0);
      return (JSON.parse(stdout) as Moved).models[0]!;
    };
    expect(await update()).toMatchObject({ stillUsedRevisions: [before], removedRevisions: [] });
    expect(differences(snapshot(before), old())).toEqual([]);
    const refused = await run("remove", `${TINY}@${before.slice(0, 12)}`, "--yes");
    expect(refused).toMatchObject({ code: 75, stderr: expect.stringMatching(/MODEL_IN_USE/) });
    expect((await runMuster(["prune", "--yes"], env)).stdout).toMatch(
      /Stays: huggingface:acme\/tiny, in use by worker-\S+ on \S+, which began/,
    );
    // Who begins now has the new one, and does not keep the old one.
    const later = startMuster(["start"], { ...at.env, WORKER_TYPE: "both", STATE_DIR: join(at.here.folder, "later") });
    onTestFinished(() => later[Symbol.asyncDispose]());
    await later.line(/Ready: every required model/);
    agent.kill("SIGKILL");
    await agent.exited;
    expect((await runMuster(["prune", "--yes"], env)).stdout).toMatch(/an earlier revision beyond KEEP_REVISIONS/);
    expect(revisions(TINY)).toEqual({ current: second, kept: [] });
    expect(existsSync(snapshot(before))).toBe(false);
    expect(await run("verify")).toMatchObject({ code: 0 });
  });

  it("by two processes at once fetches once", async () => {
    const commit = moveTiny();
    at.hub.reset();
    const both = await Promise.all([run("update", "tiny"), run("update", "tiny")]);
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
    expect(at.hub.bytesServed({ file: SHARD })).toBe(CHANGED[SHARD]!.length);
    expect(revisions(TINY)).toEqual({ current: commit, kept: [before] });
  });

  it("that is killed on its way leaves what verify and sync accept, and goes on when it is run again", async () => {
    const next = at.hub.updateRepo(TINY, { [BIG]: seededBytes(2 << 20, 31) }).commit;
    const gate = holdWeights(at.hub, { all: true });
    const killed = startMuster(["update", "tiny"], at.env);
    await until("weights are under way", () => gate.waiting > 0);
    killed.kill("SIGKILL");
    await killed.exited;
    gate.open();
    at.hub.reset();
    expect(await run("verify")).toMatchObject({ code: 0 });
    expect(await run("sync", "all")).toMatchObject({ code: 0, stdout: expect.stringMatching(/ 0 B fetched now\n$/) });
    expect(current(TINY)).toBe(before);
    expect(await run("update", "tiny")).toMatchObject({ code: 0 });
    expect(revisions(TINY)).toEqual({ current: next, kept: [before] });
    expect(await run("verify")).toMatchObject({ code: 0 });
  });

  it("says what it cannot do", async () => {
    expect(await run("update", "tiny", "--to", "previous")).toMatchObject({
      code: 78,
      stderr: expect.stringMatching(/REVISION_NOT_FOUND: No earlier revision of acme\/tiny is kept/),
    });
    expect(await run("update", "--to", "previous")).toMatchObject({ code: 64 });
    expect(await run("update", "no-such-model")).toMatchObject({ code: 64 });
    const locked = await runMuster(["update"], { ...at.env, MODELS_LOCKED: "1" });
    expect(locked).toMatchObject({ code: 64, stderr: expect.stringMatching(/MODELS_LOCKED is set/) });
    // A revision that is not there is fetched, and one that the source does not have is not.
    moveTiny();
    expect(await run("update", "tiny")).toMatchObject({ code: 0 });
    expect(await run("update", "tiny", "--to", "0".repeat(40))).toMatchObject({
      code: 78,
      stderr: expect.stringMatching(/REVISION_NOT_FOUND/),
    });
    expect(await run("remove", `${TINY}@${before.slice(0, 12)}`, "--yes")).toMatchObject({ code: 0 });
    expect(await run("update", "tiny", "--to", before)).toMatchObject({ code: 0 });
    expect(current(TINY)).toBe(before);
    expect(differences(snapshot(before), old())).toEqual([]);
  });
});

describe("pin", () => {
  it("keeps a model from remove and prune until it is let go", async () => {
    expect(await run("pin", "chat", TINY, "--dry-run")).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^Would pin/),
    });
    expect((await at.json<Listed>("list")).models.some(({ pinned }) => pinned)).toBe(false);
    const both = await Promise.all([run("pin", "chat"), run("pin", "chat", TINY)]);
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
    expect((await run("list")).stdout).toMatch(/^ollama:chat .+ complete, pinned /m);
    expect((await run("show", "chat")).stdout).toMatch(/^pinned +yes$/m);
    expect(await run("remove", "chat", "--yes")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/MODEL_PINNED: chat is pinned\.\nhint `muster unpin chat`/),
    });
    expect(await run("archive", TINY, join(at.here.folder, "cold"), "--yes")).toMatchObject({ code: 1 });
    const { stdout } = await run("prune", "--max-size", "0B", "--yes");
    expect(stdout).toMatch(/^Stays: ollama:chat, pinned on \S+$/m);
    expect((await at.json<Listed>("list")).models.map(({ location }) => location)).toEqual([TINY, CHAT]);
    expect(await run("unpin", "chat", TINY)).toMatchObject({ code: 0 });
    expect(await run("remove", "chat", "--yes")).toMatchObject({ code: 0 });
  });

  it("keeps an earlier revision, whatever KEEP_REVISIONS says", async () => {
    moveTiny();
    await run("update", "tiny");
    expect(await run("pin", `${TINY}@${before.slice(0, 12)}`)).toMatchObject({ code: 0 });
    at.hub.updateRepo(TINY, { "config.json": '{"model_type":"llama","third":true}' });
    expect((await runMuster(["update", "tiny"], { ...at.env, KEEP_REVISIONS: "0" })).code).toBe(0);
    expect(revisions(TINY).kept).toEqual([before]);
    expect(await run("remove", TINY, "--yes")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/hint `muster unpin acme\/tiny@\w{12}`/),
    });
  });
});
