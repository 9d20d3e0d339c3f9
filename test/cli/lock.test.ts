import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { httpOf, type Place, place, runMuster, startMuster } from "../e2e/muster.ts";
import { seededBytes } from "../fakes/tiny-models.ts";
import { differences } from "../fetch/volume.ts";
import { mountTmpfs, remountReadOnly } from "../store/mount.ts";
import { BIG, CHAT, repos, TINY, TWIN, type VolumePlace, volumePlace } from "./volume-place.ts";

interface LockText {
  lockVersion: number;
  models: { key: string; location: string; revision: string; manifest?: string; files: { path: string }[] }[];
}

let at: VolumePlace;
/** Another host, with nothing on its volume, and the lock. */
let there: Place;
const file = () => join(at.here.folder, "models.lock.json");
const run = (...args: string[]) => runMuster(args, at.env);
const runThere = (args: string[], env = {}) =>
  runMuster(args, {
    ...at.env,
    ...there.env,
    MODELS_LOCK: file(),
    HF_ENDPOINT: at.hub.url,
    OLLAMA_REGISTRY: at.registry.url,
    ...env,
  });
const lock = (...args: string[]) => run("lock", "--file", file(), ...args);
const read = () => JSON.parse(readFileSync(file(), "utf8")) as LockText;
const revision = (location: string) => at.record(location).revision;
const revisionThere = (location: string) => {
  const folder = join(there.volume, ".muster/models");
  const records = readdirSync(folder).filter((name) => name.endsWith(".json"));
  const all = records.map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")));
  return all.find((record) => record.location === location && !record.kept)?.revision;
};
const moveAll = () => {
  at.hub.updateRepo(TINY, { [BIG]: seededBytes(300 << 10, 71), "config.json": "{}" });
  at.registry.addModel(`library/${CHAT}:latest`, { layers: { model: seededBytes(300 << 10, 72) } });
};

beforeEach(async () => {
  at = await volumePlace();
  there = place();
  const places = [at, there] as const;
  onTestFinished(async () => {
    places[1][Symbol.dispose]();
    await places[0][Symbol.asyncDispose]();
  });
});

describe("lock", () => {
  it("writes which revisions the volume has: always the same text, a line a file", async () => {
    expect(await lock("--dry-run")).toMatchObject({ code: 0, stdout: expect.stringMatching(/Would lock 4 models/) });
    expect(existsSync(file())).toBe(false);
    expect(await lock()).toMatchObject({ code: 0, stdout: expect.stringMatching(/^added +huggingface:acme\/tiny/) });
    const { lockVersion, models } = read();
    expect(lockVersion).toBe(1);
    expect(models.map(({ location }) => location)).toEqual([TINY, TWIN, CHAT, "vision"]);
    expect(models.map((model) => model.revision)).toEqual(models.map(({ location }) => revision(location)));
    expect(models.map(({ manifest }) => manifest !== undefined)).toEqual([false, false, true, true]);
    const text = readFileSync(file(), "utf8");
    expect(text).toMatch(/^ {8}\{ "path": "config\.json", "size": \d+, "digest": "git-sha1:[0-9a-f]{40}" \},$/m);
    expect(await lock()).toMatchObject({ stdout: expect.stringMatching(/; nothing changed\n$/) });
    expect(readFileSync(file(), "utf8")).toBe(text);
    // Where nobody says where: on the volume.
    expect(await run("lock")).toMatchObject({ code: 0 });
    expect(readFileSync(join(at.here.volume, "models.lock.json"), "utf8")).toBe(text);
  });

  it("of a volume without models is refused, and leaves the lock and the folder as they are", async () => {
    await lock();
    const text = readFileSync(file(), "utf8");
    const folder = join(at.here.folder, "unmounted");
    for (const args of [["lock"], ["lock", "--dry-run"]]) {
      expect(await runMuster(args, { ...at.env, MODEL_CACHE_DIR: folder, MODELS_LOCK: file() })).toMatchObject({
        code: 64,
        stderr: expect.stringMatching(
          /MODEL_UNKNOWN: The volume has no models\.\nhint .+is MODEL_CACHE_DIR the folder/,
        ),
      });
    }
    expect(readFileSync(file(), "utf8")).toBe(text);
    expect(existsSync(folder)).toBe(false);
  });

  it("is written elsewhere where the volume is read-only; no room is told as that", async ({ skip }) => {
    const folder = mountTmpfs(32 << 20, skip);
    execFileSync("cp", ["-a", `${at.here.volume}/.`, folder]);
    const env = { ...at.env, MODEL_CACHE_DIR: folder };
    execFileSync("sh", ["-c", 'cat /dev/zero > "$0/filler" 2>&1; true', folder]);
    expect(await runMuster(["lock", "--file", file()], env)).toMatchObject({
      code: 75,
      stderr: expect.stringMatching(/error DISK_FULL: No space left while writing/),
    });
    rmSync(join(folder, "filler"));
    remountReadOnly(folder);
    expect(await runMuster(["lock", "--file", file()], env)).toMatchObject({ code: 0 });
    expect(read().models).toHaveLength(4);
    expect(await runMuster(["lock"], env)).toMatchObject({
      code: 78,
      stderr: expect.stringMatching(/error VOLUME_READ_ONLY: /),
    });
  });

  it("of single models leaves the others; two at once each keep what the other writes", async () => {
    const both = await Promise.all([lock("tiny"), lock("chat"), lock("twin")]);
    expect(both.map(({ code }) => code)).toEqual([0, 0, 0]);
    expect(read().models.map(({ location }) => location)).toEqual([TINY, TWIN, CHAT]);
    moveAll();
    expect(await run("update", "tiny")).toMatchObject({ code: 0 });
    const { stdout } = await lock("tiny");
    expect(stdout).toMatch(/^changed +huggingface:acme\/tiny +\w{12} → \w{12}\nLocked 3 models in /);
  });
});

describe("sync --locked", () => {
  it("fetches just what is locked, whatever the sources have now", async () => {
    await lock();
    const locked = Object.fromEntries([TINY, CHAT].map((name) => [name, revision(name)]));
    moveAll();
    expect(await runThere(["sync", "both", "--locked"])).toMatchObject({ code: 0 });
    for (const name of [TINY, CHAT]) expect(revisionThere(name)).toBe(locked[name]);
    const { ".gitattributes": _, ...files } = repos[TINY]!;
    const snapshot = join(there.volume, "huggingface/hub/models--acme--tiny/snapshots", locked[TINY]!);
    expect(differences(snapshot, files)).toEqual([]);
    expect(await runThere(["verify"])).toMatchObject({ code: 0 });
    // Once it is there nothing is asked, and another who is not locked takes it as it is.
    at.hub.reset();
    expect(await runThere(["sync", "both", "--locked"], { HF_HUB_OFFLINE: "1" })).toMatchObject({ code: 0 });
    expect(at.hub.requests).toEqual([]);
    expect(await runThere(["sync", "both"])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/ 0 B fetched now/),
    });
  });

  it("goes to the locked revision from any other, and keeps that", async () => {
    await lock();
    const locked = revision(TINY);
    moveAll();
    expect(await runThere(["sync", "both"])).toMatchObject({ code: 0 });
    const newer = revisionThere(TINY);
    expect(newer).not.toBe(locked);
    at.hub.reset();
    expect(await runThere(["sync", "both", "--locked"])).toMatchObject({ code: 0 });
    expect(revisionThere(TINY)).toBe(locked);
    expect(at.hub.bytesServed({ file: "model-00001-of-00002.safetensors" })).toBe(0);
    expect(await runThere(["verify"])).toMatchObject({ code: 0 });
    expect((await runThere(["show", "tiny"])).stdout).toMatch(new RegExp(`^kept revision +${newer} `, "m"));
  });

  it("refuses what it does not name, and what cannot be had any more; the others come", async () => {
    await lock("tiny", "chat");
    const other = await runThere(["sync", "all", "--locked"]);
    expect(other).toMatchObject({
      code: 78,
      stderr: expect.stringMatching(/NOT_LOCKED: twin: The lock has no acme\/twin/),
    });
    expect(other.stdout).toMatch(/2 of 4 models complete/);
    rmSync(there.volume, { recursive: true });
    mkdirSync(there.volume);
    // A tag that has moved on, and its registry forgets what it was.
    moveAll();
    at.registry.faults.blobStatus = { status: 404, times: 1000 };
    at.hub.removeRepo(TINY);
    const gone = await runThere(["sync", "both", "--locked"]);
    expect(gone).toMatchObject({ code: 78, stdout: expect.stringMatching(/0 of 2 models complete/) });
    expect(gone.stderr).toMatch(
      /LOCKED_GONE: chat: chat is locked to [0-9a-f]{64}, which its source does not give any more/,
    );
    expect(gone.stderr).toMatch(/LOCKED_GONE: tiny: acme\/tiny is locked to [0-9a-f]{40}/);
    expect(gone.stderr).toMatch(/hint `muster outdated chat` shows what main is now/);
  });

  it("takes no lock that is none", async () => {
    const absent = await runThere(["sync", "both", "--locked"]);
    expect(absent).toMatchObject({
      code: 78,
      stderr: expect.stringMatching(/LOCK_INVALID: .+: there is none\.\nhint .+muster lock/),
    });
    await lock();
    const text = readFileSync(file(), "utf8");
    for (const [wrong, why] of [
      ["{", "it is not JSON"],
      [text.replace('"lockVersion": 1', '"lockVersion": 2'), "lockVersion: "],
      [text.replace('"path": "config.json"', '"path": "../config.json"'), "path: "],
      [text.replace(/"manifest": ".*"/, '"manifest": "{}"'), "chat: the manifest is not that of the revision"],
    ] as const) {
      writeFileSync(file(), wrong);
      expect(await runThere(["sync", "both", "--locked"])).toMatchObject({
        code: 78,
        stderr: expect.stringContaining(why),
      });
      expect(existsSync(join(there.volume, ".muster/models"))).toBe(false);
    }
  });

  it("two at once fetch each byte once; a worker with MODELS_LOCKED starts with what is locked", async () => {
    await lock();
    const locked = [TINY, CHAT].map(revision);
    moveAll();
    at.hub.reset();
    const both = await Promise.all([runThere(["sync", "tiny", "--locked"]), runThere(["sync", "tiny", "--locked"])]);
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
    const size = at.record(TINY).files.find(({ path }) => path === BIG)!.size;
    expect(at.hub.bytesServed({ file: BIG })).toBe(size);
    const env = {
      ...at.env,
      ...there.env,
      MODELS_LOCK: file(),
      HF_ENDPOINT: at.hub.url,
      OLLAMA_REGISTRY: at.registry.url,
    };
    const agent = startMuster(["start"], { ...env, MODELS_LOCKED: "true", WORKER_TYPE: "both" });
    onTestFinished(() => agent[Symbol.asyncDispose]());
    await httpOf(agent);
    await agent.line(/Ready: every required model/);
    expect([TINY, CHAT].map(revisionThere)).toEqual(locked);
  });

  it("a folder that holds something else by now is refused", async () => {
    const source = join(at.here.folder, "source");
    mkdirSync(source);
    writeFileSync(join(source, "config.json"), "{}");
    writeFileSync(join(source, "model.safetensors"), seededBytes(1000, 1));
    const models = { own: { task: "chat", variants: [{ source: "path", path: source, engine: "vllm" }] } };
    const catalog = join(at.here.folder, "own.json");
    writeFileSync(catalog, JSON.stringify({ models, workerTypes: { own: { gpu: "none", models: ["own"] } } }));
    const env = { WORKER_TYPES_FILE: catalog };
    const here = { ...at.env, ...env };
    expect((await runMuster(["sync", "own"], here)).code).toBe(0);
    expect((await runMuster(["lock", "own", "--file", file()], here)).code).toBe(0);
    expect((await runThere(["sync", "own", "--locked"], env)).code).toBe(0);
    rmSync(there.volume, { recursive: true });
    mkdirSync(there.volume);
    writeFileSync(join(source, "config.json"), '{"other":true}');
    const gone = await runThere(["sync", "own", "--locked"], env);
    expect(gone).toMatchObject({ code: 78, stderr: expect.stringMatching(/LOCKED_GONE: own: .+holds revision/) });
  });
});
