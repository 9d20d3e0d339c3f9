import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { type Env, LAUNCHER, place, runMuster } from "../e2e/muster.ts";
import { bytesOf, differences, filesBelow, wrongBlobs } from "../fetch/volume.ts";
import { mountTmpfs, remountReadOnly } from "../store/mount.ts";
import { until } from "../until.ts";
import { BIG, CHAT, repos, TINY, TWIN, VISION, type VolumePlace, volumePlace } from "./volume-place.ts";

interface Imported {
  bundles: {
    id: string;
    missingBytes: number;
    models: { location: string; state: string; writtenBytes: number; error: { code: string } | null }[];
  }[];
}

let at: VolumePlace;
/** A place that no network leads to, with another volume. */
let far: { env: Env; volume: string };
const run = (...args: string[]) => runMuster(args, at.env);
const there = (...args: string[]) => runMuster(args, far.env);
const outside = (...path: string[]) => join(at.here.folder, ...path);
const sh = (script: string, env: Env = {}) =>
  runMuster([], { ...env, muster: LAUNCHER }, { command: ["sh", "-c", script], cwd: at.here.folder });
beforeEach(async () => {
  at = await volumePlace();
  const place = at;
  onTestFinished(() => place[Symbol.asyncDispose]());
  far = farPlace();
});

function farPlace(env: Env = {}) {
  const here = place({
    HF_ENDPOINT: "http://127.0.0.1:9",
    HF_HUB_OFFLINE: "1",
    WORKER_TYPES_FILE: at.env.WORKER_TYPES_FILE,
    ...env,
  });
  onTestFinished(() => here[Symbol.dispose]());
  return here;
}

async function imported(...args: string[]): Promise<Imported["bundles"]> {
  const { code, stdout, stderr } = await there("import", ...args, "--json");
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.any(String) });
  return (JSON.parse(stdout) as Imported).bundles;
}

/** Every file of every model that is listed there has the content of its record. */
async function isRight(env: Env = far.env): Promise<void> {
  const { code, stdout, stderr } = await runMuster(["verify"], env);
  expect({ code, stdout, stderr }).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^(\d+) of \1 models are right/),
  });
}

const states = (bundles: Imported["bundles"]) =>
  bundles.flatMap(({ models }) => models.map(({ location, state }) => [location, state]));
const all = (state: string) => [TINY, TWIN, CHAT, VISION].map((location) => [location, state]);

/** The volume far away has what this one has, as its tools see it. */
async function isCopied(): Promise<void> {
  await isRight();
  for (const repo of [TINY, TWIN]) {
    const { ".gitattributes": _, ...wanted } = repos[repo]!;
    const folder = join("huggingface/hub", `models--${repo.replace("/", "--")}`);
    expect(differences(join(far.volume, folder, "snapshots", at.record(repo).revision), wanted)).toEqual([]);
    expect(readFileSync(join(far.volume, folder, "refs/main"), "utf8")).toBe(at.record(repo).revision);
  }
  const ollama = (volume: string) => filesBelow(join(volume, "ollama")).filter((path) => !path.startsWith(".muster"));
  expect(ollama(far.volume)).toEqual(ollama(at.here.volume));
  const { code, stdout, stderr } = await there("sync", "all");
  expect({ code, stdout }).toEqual({
    code: 0,
    stdout: expect.stringMatching(/4 of 4 models complete .+ 0 B fetched now/),
  });
  expect(stdout + stderr + (await there("plan", "all")).stdout).not.toMatch(/known beforehand/);
}

describe("export and import", () => {
  it("take a whole volume elsewhere; a second time nothing is written", async () => {
    const file = outside("all.tar");
    const exported = await run("export", "--all", file);
    expect(exported).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(
        /^Exported 4 models to .+all\.tar \([\d.]+ MB\)\nsha256 of its manifest: [0-9a-f]{64}\n$/,
      ),
    });
    expect(readdirSync(outside()).filter((name) => name.includes("muster-export"))).toEqual([]);
    const again = await run("export", "--all", file);
    expect(again).toMatchObject({ code: 0, stdout: expect.stringMatching(/^4 models is at .+ already/) });
    const planned = await imported(file, "--dry-run");
    expect(states(planned)).toEqual(all("missing"));
    expect(readdirSync(far.volume)).toEqual([]);
    const bundles = await imported(file);
    expect(states(bundles)).toEqual(all("imported"));
    const written = bundles[0]!.models.reduce((sum, { writtenBytes }) => sum + writtenBytes, 0);
    expect(written).toBe(planned[0]!.missingBytes);
    expect(statSync(file).size).toBeGreaterThan(written);
    expect(statSync(file).size).toBeLessThan(written + 200_000);
    await isCopied();
    expect(states(await imported(file))).toEqual(all("present"));
  });

  it("are plain tar: GNU tar unpacks a bundle and packs it again, and both are taken", async () => {
    const file = outside("all.tar");
    await run("export", "--all", file);
    const listed = await sh(
      "tar -tf all.tar | head -2; mkdir out; tar -xf all.tar -C out; cd out/blobs; ls | sed -n 's/^sha256-\\(.*\\)/\\1  sha256-\\1/p' | sha256sum --check --quiet",
    );
    expect(listed).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^muster-bundle\.json\nblobs\/.+\n$/),
      stderr: "",
    });
    expect(states(await imported(outside("out"), "--dry-run"))).toEqual(all("missing"));
    expect(await sh("tar --format=pax -cf again.tar -C out ./muster-bundle.json ./blobs")).toMatchObject({ code: 0 });
    expect(states(await imported(outside("again.tar")))).toEqual(all("imported"));
    await isCopied();
  });

  it("in parts, which cat joins; any of them names all", async () => {
    const whole = outside("whole.tar");
    await run("export", "--all", whole);
    const { stdout } = await run("export", "--all", outside("split.tar"), "--part-size", "1MB");
    expect(stdout).toContain("5 parts");
    const parts = readdirSync(outside()).filter((name) => name.startsWith("split.tar"));
    expect(parts).toEqual([0, 1, 2, 3, 4].map((number) => `split.tar.00${number}`));
    expect(await sh("cat split.tar.* | cmp - whole.tar")).toMatchObject({ code: 0 });
    expect(await run("export", "--all", outside("split.tar"), "--part-size", "1MB")).toMatchObject({
      stdout: expect.stringContaining("already"),
    });
    // Fewer and larger ones take their names only when somebody has said so, and none of the old ones stays.
    const asked = await run("export", "--all", outside("split.tar"), "--part-size", "2MB");
    expect(asked).toMatchObject({ code: 64, stderr: expect.stringMatching(/Nothing was written: .+\nhint .+--yes/) });
    expect(await run("export", "--all", outside("split.tar"), "--part-size", "2MB", "--yes")).toMatchObject({
      code: 0,
    });
    expect(readdirSync(outside()).filter((name) => name.startsWith("split.tar"))).toHaveLength(3);
    const [first, second] = ["split.tar.000", "split.tar.001"].map((name) => outside(name));
    const kept = readFileSync(second!);
    rmSync(second!);
    expect(await there("import", first!)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/BUNDLE_INVALID: .+split\.tar: part 001 is missing/),
    });
    writeFileSync(second!, kept.subarray(0, 1_000_000));
    expect(await there("import", first!)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/part 001 is not as long as others/),
    });
    writeFileSync(second!, kept);
    expect(states(await imported(first!, second!))).toEqual(all("imported"));
    await isCopied();
  });

  it("packed by zstd, also with the command of that name, and through a pipe", async () => {
    await run("export", "--all", outside("all.tar"));
    expect(await run("export", "--all", outside("all.tar.zst"), "--zstd")).toMatchObject({ code: 0 });
    expect(await run("export", "--all", outside("all.tar.zst"), "--zstd")).toMatchObject({
      stdout: expect.stringContaining("already"),
    });
    const streamed = await sh('"$muster" export --all - > streamed.tar && cmp all.tar streamed.tar', at.env);
    expect(streamed).toMatchObject({
      code: 0,
      stdout: "",
      stderr: expect.stringContaining("Exported 4 models to standard output"),
    });
    expect(await sh("zstd -qdc all.tar.zst | cmp - all.tar")).toMatchObject({ code: 0, stderr: "" });
    expect(states(await imported(outside("all.tar.zst")))).toEqual(all("imported"));
    await isCopied();
    for (const command of ['zstd -qc all.tar | "$muster" import -', 'cat all.tar | "$muster" import -']) {
      const next = farPlace();
      const { code, stdout } = await sh(command, next.env);
      expect({ code, stdout }).toEqual({
        code: 0,
        stdout: expect.stringMatching(/Added 4 of 4 models from standard input/),
      });
      await isRight(next.env);
    }
  });

  it("one model and another to a folder, which takes more; and fills a volume that has some of it", async () => {
    const folder = `${outside("usb")}/`;
    expect(await run("export", TINY, folder)).toMatchObject({ code: 0 });
    expect(states(await imported(folder))).toEqual([[TINY, "imported"]]);
    expect(await run("export", "twin", "chat", folder)).toMatchObject({ code: 0 });
    expect(await run("export", "vision", folder)).toMatchObject({ code: 0 });
    expect(readdirSync(folder).toSorted()).toEqual(["blobs", "muster-bundle.json"]);
    const [bundle] = await imported(folder);
    expect(Object.fromEntries(states([bundle!]))).toEqual({
      [CHAT]: "imported",
      [TINY]: "present",
      [TWIN]: "imported",
      [VISION]: "imported",
    });
    await isCopied();
  });

  it("only the bundle whose digest was told", async () => {
    const { stdout } = await run("export", TINY, outside("tiny.tar"));
    const [digest] = /[0-9a-f]{64}/.exec(stdout) ?? [];
    const other = await there("import", outside("tiny.tar"), "--sha256", "0".repeat(64));
    expect(other).toMatchObject({ code: 1, stderr: expect.stringContaining("BUNDLE_INVALID") });
    expect(states(await imported(outside("tiny.tar"), "--sha256", digest!))).toEqual([[TINY, "imported"]]);
  });
});

describe("export", () => {
  it("refuses what is not complete; a backup leaves it out and says so", async () => {
    const [weights] = filesBelow(join(at.here.volume, "ollama/blobs"));
    rmSync(join(at.here.volume, "ollama/blobs", weights!));
    const one = await run("export", "chat", "vision", outside("chat.tar"));
    expect(one).toMatchObject({ code: 1, stderr: expect.stringContaining("MODEL_INCOMPLETE") });
    const backup = await run("export", "--all", outside("all.tar"));
    expect(backup.code).toBe(1);
    expect(backup.stderr).toMatch(/MODEL_INCOMPLETE: (chat|vision) is not complete, and was left out/);
    expect(states(await imported(outside("all.tar"))).length).toBeLessThan(4);
    await isRight();
  });

  it("of a file that is damaged gives no bundle", async () => {
    const snapshot = join(at.here.volume, "huggingface/hub/models--acme--tiny/snapshots", at.record(TINY).revision);
    const weights = readFileSync(join(snapshot, "model-00001-of-00002.safetensors"));
    weights[weights.length - 1]! ^= 1;
    writeFileSync(join(snapshot, "model-00001-of-00002.safetensors"), weights);
    for (const target of [outside("tiny.tar"), `${outside("usb")}/`]) {
      const { code, stderr } = await run("export", TINY, target);
      expect({ code, stderr }).toEqual({
        code: expect.any(Number),
        stderr: expect.stringMatching(/DIGEST_MISMATCH|MODEL_DAMAGED/),
      });
      expect(code).not.toBe(0);
    }
    expect(existsSync(outside("tiny.tar"))).toBe(false);
    expect(existsSync(outside("usb/muster-bundle.json"))).toBe(false);
    // Repaired it goes on, and what was begun with the damaged file is not used.
    expect(await run("verify", "--repair")).toMatchObject({ code: 0 });
    expect(await run("export", TINY, outside("tiny.tar"))).toMatchObject({ code: 0 });
    expect(states(await imported(outside("tiny.tar")))).toEqual([[TINY, "imported"]]);
    await isRight();
  });

  it.each([
    [["export"], /models, and then where they go/],
    [["export", TINY], /models, and then where they go/],
    [["export", "--all", TINY, "x.tar"], /--all is every model/],
    [["export", TINY, "x.tar", "--part-size", "9B"], /too small/],
    [["export", TINY, "-", "--part-size", "1MB"], /stream has no parts/],
    [["export", TINY, "/tmp", "--zstd"], /is a folder/],
    [["import", "no-such.tar"], /no bundle no-such\.tar/],
  ])("%j is wrong usage", async (args, words) => {
    expect(await run(...args)).toMatchObject({ code: 64, stderr: expect.stringMatching(words) });
  });

  it("that two begin at once writes one bundle", async () => {
    const both = await Promise.all([
      run("export", "--all", outside("all.tar")),
      run("export", "--all", outside("all.tar")),
    ]);
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
    expect(states(await imported(outside("all.tar")))).toEqual(all("imported"));
    await isRight();
  });
});

describe("import", () => {
  /** A process that was sent a bundle up to the middle of its largest file, and waits for more. */
  async function half(file: string) {
    const child = spawn(LAUNCHER, ["import", "-"], {
      env: { PATH: process.env.PATH, HOME: process.env.HOME, ...far.env },
      stdio: ["pipe", "ignore", "ignore"],
    });
    onTestFinished(() => void child.kill("SIGKILL"));
    const exited = once(child, "close");
    child.stdin.on("error", () => undefined);
    const [bytes, big] = [readFileSync(file), bytesOf(repos[TINY]![BIG]!)];
    child.stdin.write(bytes.subarray(0, bytes.indexOf(big.subarray(0, 512)) + big.length / 2));
    const folder = join(far.volume, "huggingface/hub/models--acme--tiny/.muster/ingest");
    const partials = () => (existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith(".journal")) : []);
    const digest = createHash("sha256").update(big).digest("hex");
    const journal = join(folder, `sha256-${digest}.journal`);
    await until(
      "some of it is written",
      () => existsSync(journal) && /\n\d+ \d+\n/.test(readFileSync(journal, "utf8")),
    );
    return { child, exited, partials };
  }

  it("that is killed in the middle goes on; verify and sync succeed at once", async () => {
    await run("export", TINY, outside("tiny.tar"));
    const { child, exited, partials } = await half(outside("tiny.tar"));
    child.kill("SIGKILL");
    await exited;
    expect(partials()).toHaveLength(1);
    await isRight();
    expect((await there("list", "--json")).stdout).toContain('"models": []');
    const [bundle] = await imported(outside("tiny.tar"));
    expect(states([bundle!])).toEqual([[TINY, "imported"]]);
    // What had its name before the kill was not written again.
    expect(bundle!.models[0]!.writtenBytes).toBeLessThan(statSync(outside("tiny.tar")).size - 200_000);
    expect(partials()).toEqual([]);
    await isRight();
  });

  it("is not swept while it waits; what it leaves when it is killed is", async () => {
    await run("export", TINY, outside("tiny.tar"));
    const { child, exited, partials } = await half(outside("tiny.tar"));
    const makeOld = () => {
      const old = new Date(Date.now() - 3 * 86_400_000);
      const paths = readdirSync(far.volume, { recursive: true }).map((path) => join(far.volume, String(path)));
      for (const path of paths) if (!path.includes("/leases/")) utimesSync(path, old, old);
    };
    // Beside it a prune takes nothing, however long it has been waiting for bytes.
    makeOld();
    expect(await there("prune", "--yes")).toMatchObject({ code: 0 });
    expect(partials()).toHaveLength(1);
    child.kill("SIGKILL");
    await exited;
    makeOld();
    expect(await there("prune", "--yes")).toMatchObject({ code: 0, stdout: expect.stringMatching(/unfinished/) });
    const online = { ...far.env, HF_ENDPOINT: at.env.HF_ENDPOINT, HF_HUB_OFFLINE: "" };
    expect(partials()).toEqual([]);
    expect(await runMuster(["sync", "tiny"], online)).toMatchObject({ code: 0 });
    await isRight();
  });

  it("by two processes at once and a sync beside them writes each model once", async () => {
    await run("export", "--all", outside("all.tar"));
    const online = {
      ...far.env,
      HF_ENDPOINT: at.env.HF_ENDPOINT,
      HF_HUB_OFFLINE: "",
      OLLAMA_REGISTRY: at.env.OLLAMA_REGISTRY,
    };
    const done = await Promise.all([
      there("import", outside("all.tar")),
      there("import", outside("all.tar")),
      runMuster(["sync", "all"], online),
    ]);
    expect(done.map(({ code, stderr }) => (code === 0 ? "" : stderr))).toEqual(["", "", ""]);
    await isCopied();
  });

  it("leaves another revision that the volume has, whoever fetched it; --update takes its own models there and back", async () => {
    await run("export", "--all", outside("all.tar"));
    const online = {
      ...far.env,
      HF_ENDPOINT: at.env.HF_ENDPOINT,
      HF_HUB_OFFLINE: "",
      OLLAMA_REGISTRY: at.env.OLLAMA_REGISTRY,
    };
    at.hub.updateRepo(TINY, { "config.json": "{}" });
    expect(await runMuster(["sync", "tiny"], online)).toMatchObject({ code: 0 });
    const manifest = join(far.volume, "ollama/manifests/registry.ollama.ai/library/chat");
    mkdirSync(manifest, { recursive: true });
    writeFileSync(join(manifest, "latest"), '{"layers":[]}');
    const { code, stdout } = await there("import", outside("all.tar"));
    expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringContaining("Added 2 of 4 models") });
    expect(stdout).toMatch(/Stays: huggingface:acme\/tiny is [0-9a-f]{12} on the volume; --update takes this one/);
    expect(stdout).toMatch(/Stays: ollama:chat is [0-9a-f]{12} on the volume; `muster remove chat` makes room/);
    await isRight();
    const ref = join(far.volume, "huggingface/hub/models--acme--tiny/refs/main");
    const later = readFileSync(ref, "utf8");
    expect(later).not.toBe(at.record(TINY).revision);
    expect((await there("import", outside("all.tar"), "--update", "--dry-run")).stdout).toContain(
      "Would add 1 of 4 models",
    );
    const updated = Object.fromEntries(states(await imported(outside("all.tar"), "--update")));
    expect(updated).toEqual({ [TINY]: "updated", [TWIN]: "present", [CHAT]: "differs", [VISION]: "present" });
    expect(readFileSync(ref, "utf8")).toBe(at.record(TINY).revision);
    expect(readFileSync(join(manifest, "latest"), "utf8")).toBe('{"layers":[]}');
    await isRight();
    // What it had before is kept, as after an update.
    expect(await there("update", "tiny", "--to", "previous")).toMatchObject({ code: 0 });
    expect(readFileSync(ref, "utf8")).toBe(later);
    // An earlier revision can be exported as well, by itself.
    const earlier = `${TINY}@${at.record(TINY).revision}`;
    expect(await runMuster(["export", earlier, outside("earlier.tar")], far.env)).toMatchObject({ code: 0 });
    expect(await runMuster(["export", earlier, "tiny", outside("two.tar")], far.env)).toMatchObject({ code: 64 });
    const next = farPlace();
    expect(await runMuster(["import", outside("earlier.tar")], next.env)).toMatchObject({ code: 0 });
    expect(readFileSync(join(next.volume, "huggingface/hub/models--acme--tiny/refs/main"), "utf8")).toBe(
      at.record(TINY).revision,
    );
    await isRight(next.env);
  });

  it("of a model that lacks files in another revision puts its own in the place", async () => {
    await run("export", TINY, outside("tiny.tar"));
    const online = { ...far.env, HF_ENDPOINT: at.env.HF_ENDPOINT, HF_HUB_OFFLINE: "" };
    at.hub.updateRepo(TINY, { "config.json": "{}" });
    expect(await runMuster(["sync", "tiny"], online)).toMatchObject({ code: 0 });
    const snapshots = join(far.volume, "huggingface/hub/models--acme--tiny/snapshots");
    const [commit] = readdirSync(snapshots);
    rmSync(join(snapshots, commit!, "config.json"));
    expect(states(await imported(outside("tiny.tar")))).toEqual([[TINY, "imported"]]);
    expect(readdirSync(snapshots)).toEqual([at.record(TINY).revision]);
    await isRight();
  });

  it("writes nothing where it would exceed MAX_CACHE_GB or what stays free", async () => {
    await run("export", "--all", outside("all.tar"));
    const quota = await runMuster(["import", outside("all.tar")], { ...far.env, MAX_CACHE_GB: "0.002" });
    expect(quota).toMatchObject({ code: 75, stderr: expect.stringMatching(/QUOTA_EXCEEDED: The bundle needs/) });
    const full = await runMuster(["import", outside("all.tar")], { ...far.env, MIN_FREE_GB: "1000000" });
    expect(full).toMatchObject({ code: 75, stderr: expect.stringMatching(/DISK_FULL: The bundle needs/) });
    expect(filesBelow(far.volume).filter((path) => !path.startsWith(".muster"))).toEqual([]);
  });

  it("says of a read-only mount that it is this import that needs it writable", async ({ skip }) => {
    await run("export", "tiny", outside("tiny.tar"));
    const volume = mountTmpfs(4 << 20, skip);
    remountReadOnly(volume);
    const { code, stderr } = await runMuster(["import", outside("tiny.tar")], {
      ...far.env,
      MODEL_CACHE_DIR: volume,
      MIN_FREE_GB: "0",
    });
    expect(code).toBe(78);
    expect(stderr).toMatch(
      /error VOLUME_READ_ONLY: \S+ is on a read-only mount, .+\nhint Mount the volume writable for this `muster import`, or /,
    );
  });

  it("of a bundle in which a bit has flipped adds the models that are right", async () => {
    await run("export", "--all", outside("all.tar"));
    const bytes = readFileSync(outside("all.tar"));
    const [layer] = repos[TWIN]
      ? Object.entries(repos[TWIN]).filter(([path]) => path === "model-00001-of-00002.safetensors")
      : [];
    const position = bytes.indexOf(bytesOf(layer![1]).subarray(1000, 1100));
    expect(position).toBeGreaterThan(0);
    bytes[position]! ^= 4;
    writeFileSync(outside("flipped.tar"), bytes);
    for (const names of [[outside("flipped.tar")], ["-"]]) {
      const next = farPlace();
      const command = `"$muster" import ${names[0]} < flipped.tar`;
      const { code, stdout, stderr } = await sh(command, next.env);
      expect({ code, stderr }).toEqual({
        code: 1,
        stderr: expect.stringMatching(
          /BUNDLE_INVALID: .+ is damaged: blobs\/sha256-[0-9a-f]{64} \(acme\/twin: model-00001/,
        ),
      });
      expect(stdout).toMatch(/acme\/twin .+failed/);
      expect(stdout).toContain("Added 3 of 4 models");
      await isRight(next.env);
      expect(wrongBlobs(join(next.volume, "huggingface/hub/models--acme--twin"))).toEqual([]);
      // The right bundle brings what was missing.
      expect(await runMuster(["import", outside("all.tar")], next.env)).toMatchObject({
        code: 0,
        stdout: expect.stringContaining("Added 1 of 4"),
      });
      await isRight(next.env);
    }
  });

  it("of a bundle that was cut short places nothing", async () => {
    await run("export", "--all", outside("all.tar"));
    truncateSync(outside("all.tar"), 2_000_000);
    const { code, stderr } = await there("import", outside("all.tar"));
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(/BUNDLE_INVALID: .+all\.tar ends before all of it is there/),
    });
    expect(readdirSync(far.volume)).toEqual([]);
  });
});
