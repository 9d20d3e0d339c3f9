import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { runMuster, startMuster } from "../e2e/muster.ts";
import { holdWeights } from "../e2e/services.ts";
import { differences } from "../fetch/volume.ts";
import { mountTmpfs, remountReadOnly } from "../store/mount.ts";
import { until } from "../until.ts";
import { BIG, CHAT, repos, TINY, TWIN, type VolumePlace, volumePlace } from "./volume-place.ts";

let at: VolumePlace;
const volume = (...path: string[]) => join(at.here.volume, ...path);
const run = (...args: string[]) => runMuster(args, at.env);
const snapshot = (repo = TINY) =>
  volume("huggingface/hub", `models--${repo.replace("/", "--")}`, "snapshots", at.record(repo).revision);
beforeEach(async () => {
  at = await volumePlace();
  const place = at;
  onTestFinished(() => place[Symbol.asyncDispose]());
});

/** One byte is another; length and time stay. */
function damage(path: string): void {
  const real = realpathSync(path);
  const fd = openSync(real, "r+");
  writeSync(fd, Buffer.from([readFileSync(real)[100]! ^ 1]), 0, 1, 100);
}

const isRight = async () => {
  const { models } = await at.json<{ models: { state: string }[] }>("verify");
  expect(models.map(({ state }) => state)).toEqual(["right", "right", "right", "right"]);
};

describe("verify", () => {
  it("finds every kind of damage, and repairs that and nothing else", async () => {
    await isRight();
    damage(join(snapshot(), "model-00001-of-00002.safetensors"));
    const missing = realpathSync(join(snapshot(), "tokenizer.json"));
    unlinkSync(missing);
    writeFileSync(realpathSync(join(snapshot(), "config.json")), "{}");
    const blob = at.record(CHAT).files.toSorted((a, b) => b.size - a.size)[0]!.path;
    damage(volume("ollama", blob));
    const found = await run("verify");
    expect(found.code).toBe(1);
    expect(found.stdout).toMatch(/huggingface:acme\/tiny\n/);
    expect(found.stdout).toMatch(/^ {2}config\.json +wrong size$/m);
    expect(found.stdout).toMatch(/^ {2}model-00001-of-00002\.safetensors +wrong content$/m);
    expect(found.stdout).toMatch(/^ {2}tokenizer\.json +missing$/m);
    expect(found.stdout).toMatch(/^ {2}blobs\/sha256-[0-9a-f]{64} +wrong content$/m);
    expect(found.stderr).toMatch(
      /error MODEL_DAMAGED: acme\/tiny has 3 files .+\nhint `muster verify acme\/tiny --repair`/,
    );
    at.hub.requests.length = 0;
    const repaired = await run("verify", "--repair");
    expect(repaired).toMatchObject({ code: 0, stdout: expect.stringMatching(/wrong content; repaired/) });
    const fetched = at.hub.requests.map(({ path }) => path).filter((path) => /resolve/.test(path));
    expect(fetched.filter((path) => /model-00002|model-00003|generation_config/.test(path))).toEqual([]);
    await isRight();
  });

  it("names an earlier revision that is kept so that its repair finds it", async () => {
    const before = at.record(TWIN).revision;
    at.hub.updateRepo(TWIN, { "config.json": '{"model_type":"llama"}' });
    expect((await run("update", "twin")).code).toBe(0);
    unlinkSync(volume("huggingface/hub/models--acme--twin/snapshots", before, "config.json"));
    const name = `${TWIN}@${before.slice(0, 12)}`;
    const found = await run("verify");
    expect(found).toMatchObject({
      code: 1,
      stdout: expect.stringContaining(`huggingface:${name}\n  config.json  missing`),
    });
    expect(found.stderr).toContain(`MODEL_DAMAGED: ${name} has a file`);
    const [, hinted = ""] = /^hint `muster (verify .+ --repair)`/m.exec(found.stderr) ?? [];
    expect(hinted).toBe(`verify ${name} --repair`);
    expect(await run(...hinted.split(" "))).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("config.json  missing; repaired"),
    });
    expect((await run("verify")).code).toBe(0);
  });

  it("reads a file of two models once, and repairs both", async () => {
    damage(join(snapshot(), BIG));
    expect((await run("verify", TINY, TWIN)).code).toBe(1);
    expect((await run("verify", "--repair")).code).toBe(0);
    const { ".gitattributes": _, ...wanted } = repos[TWIN]!;
    expect(differences(snapshot(TWIN), wanted)).toEqual([]);
    await isRight();
  });

  it("never follows a link out of the volume, and never writes through one", async () => {
    const secret = join(at.here.folder, "secret");
    writeFileSync(secret, readFileSync(join(snapshot(), "config.json")));
    unlinkSync(join(snapshot(), "config.json"));
    symlinkSync(secret, join(snapshot(), "config.json"));
    const { stdout } = await run("verify", TINY);
    expect(stdout).toMatch(/config\.json +leads out of the volume/);
    expect((await run("verify", TINY, "--repair")).code).toBe(0);
    expect(existsSync(secret)).toBe(true);
    expect(realpathSync(join(snapshot(), "config.json"))).toContain(realpathSync(at.here.volume));
  });

  it("two at once repair together; one that is killed on its way leaves what sync completes", async () => {
    damage(join(snapshot(), BIG));
    damage(join(snapshot(TWIN), "model-00001-of-00002.safetensors"));
    const gate = holdWeights(at.hub, { all: true });
    const killed = startMuster(["verify", "--repair"], at.env);
    await until("it fetches", () => gate.waiting > 0);
    killed.kill("SIGKILL");
    await killed.exited;
    gate.open();
    at.hub.onRequest = undefined;
    const outcomes = await Promise.all([run("verify", "--repair"), run("verify", "--repair"), run("sync", "all")]);
    expect(outcomes.map(({ code, stderr }) => ({ code, stderr }))).toEqual(
      Array(3).fill({ code: 0, stderr: expect.any(String) }),
    );
    await isRight();
  });

  it("of a volume that is not there is refused; one that is empty is right", async () => {
    const folder = join(at.here.folder, "unmounted");
    const there = () => runMuster(["verify"], { ...at.env, MODEL_CACHE_DIR: folder });
    expect(await there()).toMatchObject({
      code: 64,
      stderr: expect.stringMatching(/MODEL_UNKNOWN: The volume has no models\.\nhint .+is MODEL_CACHE_DIR the folder/),
    });
    expect(existsSync(folder)).toBe(false);
    mkdirSync(folder);
    expect(await there()).toMatchObject({ code: 0, stdout: expect.stringMatching(/^0 of 0 models are right/) });
  });

  it("keeps to a rate", async () => {
    const { models } = await at.json<{ models: { state: string }[] }>("verify", CHAT, "--rate", "1GB/s");
    expect(models).toMatchObject([{ state: "right" }]);
    expect(await run("verify", "--rate", "1B/s")).toMatchObject({ code: 64 });
  });

  it("writes checksums.txt as sha256sum reads it, and checks such a list", async () => {
    const written = await run("verify", "--write-checksums");
    expect(written.stdout).toMatch(/\d+ files listed in .+checksums\.txt/);
    const lines = readFileSync(volume("checksums.txt"), "utf8").trim().split("\n");
    const check = () =>
      execFileSync("sha256sum", ["--check", "--strict", "checksums.txt"], { cwd: at.here.volume, stdio: "pipe" });
    expect(check().toString().trim().split("\n")).toHaveLength(lines.length);
    expect((await run("verify", "--checksums")).stdout).toMatch(
      new RegExp(`^${lines.length} of ${lines.length} files are as listed`),
    );
    damage(join(snapshot(), BIG));
    expect(check).toThrow();
    const found = await run("verify", "--checksums", volume("checksums.txt"));
    expect(found).toMatchObject({ code: 1, stdout: expect.stringMatching(/model-00003.+: wrong content/) });
    expect(await run("verify", "--checksums", "/nowhere")).toMatchObject({ code: 64 });
  });
});

describe("archive", () => {
  it("moves a model to a folder from which sync has it back without a hub", async () => {
    const cold = mkdtempSync(join(at.here.folder, "cold-"));
    expect((await run("archive", TINY, cold, "--dry-run")).stdout).toMatch(/^Would move acme\/tiny \(/m);
    expect(readdirSync(cold)).toEqual([]);
    expect(await run("archive", TINY, "cold", "--yes")).toMatchObject({ code: 64 });
    expect(await run("archive", CHAT, cold, "--yes")).toMatchObject({ code: 78 });
    expect((await run("archive", TWIN, cold, "--copy")).stdout).toMatch(/^Copied acme\/twin/m);
    expect(at.records()).toHaveLength(4);
    const moved = await run("archive", TINY, cold, "--yes");
    expect(moved).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/Moved acme\/tiny .+HF_ENDPOINT=\S+ reads it back/),
    });
    expect(at.records()).toHaveLength(3);
    at.hub.requests.length = 0;
    const back = await runMuster(["sync", "tiny"], { ...at.env, HF_ENDPOINT: cold });
    expect(back.code).toBe(0);
    expect(at.hub.requests).toEqual([]);
    await isRight();
  });

  it("copies nothing of a model that it cannot take off the volume", async ({ skip }) => {
    const cold = mkdtempSync(join(at.here.folder, "cold-"));
    const folder = mountTmpfs(32 << 20, skip);
    execFileSync("cp", ["-a", `${at.here.volume}/.`, folder]);
    remountReadOnly(folder);
    const env = { ...at.env, MODEL_CACHE_DIR: folder };
    expect(await runMuster(["archive", TINY, cold, "--yes"], env)).toMatchObject({
      code: 78,
      stderr: expect.stringMatching(/error VOLUME_READ_ONLY: /),
    });
    expect(readdirSync(cold)).toEqual([]);
    expect(await runMuster(["archive", TINY, cold, "--copy"], env)).toMatchObject({ code: 0 });
  });

  it("keeps a model that is damaged, and one that was killed on its way", async () => {
    const cold = mkdtempSync(join(at.here.folder, "cold-"));
    damage(join(snapshot(), "model-00001-of-00002.safetensors"));
    const refused = await run("archive", TINY, cold, "--yes");
    expect(refused.stderr).toMatch(/DIGEST_MISMATCH/);
    expect(at.records()).toHaveLength(4);
    rmSync(realpathSync(join(snapshot(), "model-00001-of-00002.safetensors")));
    expect((await run("sync", "tiny")).code).toBe(0);
    const killed = startMuster(["archive", TINY, cold, "--yes"], at.env);
    await until("it writes", () =>
      readdirSync(cold, { recursive: true }).some((name) => String(name).includes("acme-tiny")),
    );
    killed.kill("SIGKILL");
    await killed.exited;
    const both = await Promise.all([run("archive", TINY, cold, "--copy"), run("sync", "tiny")]);
    expect(both.map(({ code }) => code)).toContain(0);
    expect((await run("sync", "all")).code).toBe(0);
    await isRight();
    utimesSync(cold, new Date(), new Date());
  });
});
