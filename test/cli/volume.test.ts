import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { OwnHold } from "../../src/store/holds.ts";
import { createLayout } from "../../src/store/layout.ts";
import { acquireLease } from "../../src/store/lease.ts";
import { httpOf, LAUNCHER, runMuster, startMuster } from "../e2e/muster.ts";
import { bytesOf, differences, filesBelow } from "../fetch/volume.ts";
import { mountTmpfs, remountReadOnly } from "../store/mount.ts";
import { until } from "../until.ts";
import { BIG, CHAT, repos, TINY, TWIN, VISION, type VolumePlace, volumePlace } from "./volume-place.ts";

interface Listed {
  models: { location: string; complete: boolean; bytes: number; workerTypes: string[]; heldBy: unknown[] }[];
  bytes: number;
}

let at: VolumePlace;
const volume = (...path: string[]) => join(at.here.volume, ...path);
const run = (...args: string[]) => runMuster(args, at.env);
beforeEach(async () => {
  at = await volumePlace();
  const place = at;
  onTestFinished(() => place[Symbol.asyncDispose]());
});

/** Everything is there and right, whatever happened before. */
async function isWhole(): Promise<void> {
  expect(await run("sync", "all")).toMatchObject({ code: 0 });
  const { models } = await at.json<Listed>("list");
  expect(models.map(({ location, complete }) => [location, complete])).toEqual(
    [TINY, TWIN, CHAT, VISION].toSorted().map((location) => [location, true]),
  );
  for (const repo of [TINY, TWIN] as const) {
    const { ".gitattributes": _, ...wanted } = repos[repo]!;
    const folder = volume(
      "huggingface/hub",
      `models--${repo.replace("/", "--")}`,
      "snapshots",
      at.record(repo).revision,
    );
    expect(differences(folder, wanted)).toEqual([]);
  }
}

describe("list and show", () => {
  it("tell source, revision, quantization, licence, size, use and types; in the order that is asked for", async () => {
    const { stdout } = await run("list");
    expect(stdout).toMatch(/^MODEL +REVISION +STATE +QUANT +SIZE +FILES +LICENCE +FETCHED +USED +WORKER TYPES\n/);
    expect(stdout).toMatch(/^ollama:chat +main \([0-9a-f]{12}\) +complete +q4_0 +1\.2 MB +\d +mit .+ all, both$/m);
    expect(stdout).toMatch(/\n4 models, [\d.]+ MB in \S+\n[█▒░]{40} \S+: [\d.]+ MB of models, .+ free\n$/);
    const sizes = (await at.json<Listed>("list", "--sort", "size")).models.map(({ bytes }) => bytes);
    expect(sizes).toEqual(sizes.toSorted((a, b) => b - a));
    expect(await run("list", "--sort", "colour")).toMatchObject({ code: 64 });
  });

  it("show a model file by file, by whichever of its names", async () => {
    const { key, revision } = at.record(TINY);
    for (const name of [TINY, "tiny", `huggingface:${TINY}`, `${TINY}@main`, key]) {
      const { models } = await at.json<{ models: object[] }>("show", name);
      expect(models).toMatchObject([{ location: TINY, revision, pinned: false, catalogModels: ["tiny"] }]);
    }
    const { stdout } = await run("show", "chat");
    expect(stdout).toMatch(/^quantization +q4_0$/m);
    expect(stdout).toMatch(/^in use by +nobody$/m);
    expect(stdout).toMatch(/^ {2}blobs\/sha256-[0-9a-f]{64} +.+ sha256:[0-9a-f]{64}$/m);
    const unknown = await run("show", "no-such-model");
    expect(unknown).toMatchObject({ code: 64, stderr: expect.stringMatching(/MODEL_UNKNOWN: .+\nhint .+acme\/tiny/) });
  });
});

describe("remove", () => {
  it("takes a model away and what only it has; Python's and Ollama's names for it go too", async () => {
    const before = filesBelow(volume("ollama/blobs")).length;
    const planned = await run("remove", "chat", TINY, "--dry-run");
    expect(planned.stdout).toMatch(/Would remove 2 models, which frees [\d.]+ MB\n$/);
    expect(at.records()).toHaveLength(4);
    expect(await run("remove", "chat", TINY, "--yes")).toMatchObject({ code: 0 });
    expect(at.records()).toHaveLength(2);
    expect(existsSync(volume("ollama/manifests/registry.ollama.ai/library/chat"))).toBe(false);
    expect(existsSync(volume("huggingface/hub/models--acme--tiny"))).toBe(false);
    // Of chat its weights; the config and the layer that vision has too stay.
    expect(filesBelow(volume("ollama/blobs"))).toHaveLength(before - 1);
    expect((await at.json<Listed>("list")).models.map(({ complete }) => complete)).toEqual([true, true]);
    expect(readdirSync(volume(".muster/removing"))).toEqual([]);
    await isWhole();
  });

  it("asks in a terminal, and wants --yes where there is none", async () => {
    expect(await run("remove", "chat")).toMatchObject({
      code: 64,
      stderr: expect.stringMatching(/USAGE: .+\nhint .+--yes/),
    });
    const answer = (word: string) =>
      runMuster(
        [],
        { ...at.env, TERM: "xterm" },
        {
          command: ["sh", "-c", `echo ${word} | script -qec "${LAUNCHER} remove chat" /dev/null`],
        },
      );
    expect((await answer("n")).stdout).toMatch(/Remove a model, which frees .+ kB\? \[y\/N\]/);
    expect(at.records()).toHaveLength(4);
    expect((await answer("y")).stdout).toMatch(/Removed a model/);
    expect(at.records()).toHaveLength(3);
  });

  it("refuses what a running worker needs, also where a prune wants it", async () => {
    const agent = startMuster(["start"], { ...at.env, WORKER_TYPE: "both" });
    onTestFinished(() => agent[Symbol.asyncDispose]());
    await httpOf(agent);
    await agent.line(/Ready: every required model/);
    const { code, stderr } = await run("remove", TWIN, TINY, "--yes");
    expect({ code, stderr }).toEqual({
      code: 75,
      stderr: expect.stringMatching(/MODEL_IN_USE: acme\/tiny is in use by worker-/),
    });
    const { stdout } = await run("prune", "--max-size", "0B", "--yes");
    expect(stdout).toMatch(/Stays: huggingface:acme\/tiny, in use by worker-\S+ on/);
    const { models } = await at.json<Listed>("list");
    expect(models.map(({ location, heldBy }) => [location, heldBy.length])).toEqual([
      [TINY, 1],
      [CHAT, 1],
    ]);
    agent.kill("SIGKILL");
    await agent.exited;
    expect(stderr).toMatch(/hint Stop that worker .+ and restart it\. Then run the same `muster remove` again\.\n$/);
    // On this machine it is known at once that the worker is gone.
    expect(await run("remove", TINY, "--yes")).toMatchObject({ code: 0 });
  });

  it("and the other commands that only change a volume say of a read-only mount what was run", async ({ skip }) => {
    const mount = mountTmpfs(16 << 20, skip);
    cpSync(at.here.volume, mount, { recursive: true, verbatimSymlinks: true });
    remountReadOnly(mount);
    for (const [command, ...args] of [
      ["remove", TINY, "--yes"],
      ["pin", TINY],
      ["prune", "--max-size", "0B", "--yes"],
    ]) {
      const { code, stderr } = await runMuster([command!, ...args], { ...at.env, MODEL_CACHE_DIR: mount });
      expect(code).toBe(78);
      expect(stderr).toContain(
        `error VOLUME_READ_ONLY: ${mount} is on a read-only mount.\nhint Mount the volume writable, then run the same \`muster ${command}\` again.\n`,
      );
    }
  });

  it("says to wait for a command that uses a model", async () => {
    const { modelCacheDir, hfHubCache, ollamaModels } = parseConfig(at.env);
    const models = [{ key: at.record(TINY).key, lease: "any" }];
    await using _hold = await OwnHold.take(createLayout(modelCacheDir, hfHubCache, ollamaModels), {
      ...{ name: "muster export", workerType: null, models, catalog: [] },
    });
    const { code, stderr } = await run("remove", TINY, "--yes");
    expect(code).toBe(75);
    expect(stderr).toMatch(
      /MODEL_IN_USE: acme\/tiny is in use by muster export on (\S+)\.\nhint Wait until `muster export` on \1 has ended\. Then run the same `muster remove` again\.\n$/,
    );
  });

  it("that is killed on its way is finished by the next prune", async () => {
    const lease = await acquireLease(volume("ollama/.muster/lease"), { what: "the Ollama store" });
    const removing = startMuster(["remove", "vision", "--yes"], at.env);
    const hidden = volume(".muster/removing");
    await until("the record is hidden", () => existsSync(hidden) && readdirSync(hidden).length === 1);
    removing.kill("SIGKILL");
    await removing.exited;
    await lease.release();
    expect(at.records()).toHaveLength(3);
    expect(existsSync(volume("ollama/manifests/registry.ollama.ai/library/vision"))).toBe(true);
    const { stdout } = await run("prune", "--yes");
    expect(stdout).toContain("Left behind: 1 × a removal that was interrupted");
    expect(readdirSync(hidden)).toEqual([]);
    expect(existsSync(volume("ollama/manifests/registry.ollama.ai/library/vision"))).toBe(false);
    await isWhole();
  });

  it("by two processes at once, beside a sync of the same models", async () => {
    await Promise.all([
      run("remove", "tiny", "chat", "--yes"),
      run("remove", "chat", "tiny", "--yes"),
      run("sync", "all"),
    ]);
    await isWhole();
  });
});

describe("prune", () => {
  it("takes the least recently used until the rest fits, and what was not used for long", async () => {
    at.makeOld(TWIN, 3);
    at.makeOld(CHAT, 40);
    at.makeOld(VISION, 50);
    const planned = await run("prune", "--older-than", "30d", "--dry-run");
    expect(planned.stdout).toMatch(/ollama:vision .+ not used for long.+\nollama:chat .+ not used for long/);
    expect(at.records()).toHaveLength(4);
    const { models } = await at.json<{ models: { location: string }[] }>("prune", "--older-than", "45d", "--yes");
    expect(models).toMatchObject([{ location: VISION, reason: "unused", outcome: "removed" }]);
    const { bytesAfter } = await at.json<{ bytesAfter: number }>("prune", "--max-size", "2MB", "--yes");
    expect(bytesAfter).toBeLessThanOrEqual(2e6);
    expect((await at.json<Listed>("list")).models).toMatchObject([{ location: TINY, complete: true }]);
    await isWhole();
  });

  it("keeps what a worker type could choose, and says where the rest does not fit", async () => {
    const kept = await run("prune", "--max-size", "1kB", "--keep-type", "both", "--yes");
    expect(kept.code).toBe(1);
    expect(kept.stdout).toMatch(/Stays: ollama:chat, --keep-type both/);
    expect(kept.stdout).toMatch(/that is more than 1\.0 kB, and the rest is needed\n$/);
    expect(at.records()).toHaveLength(2);
    const unknown = await run("prune", "--keep-type", "nonsense");
    expect(unknown.code).toBe(64);
    expect(unknown.stderr).toMatch(
      /^error USAGE: --keep-type is "nonsense", .*\nhint Give --keep-type one of: both, one/,
    );
    expect((await runMuster(["prune"], { ...at.env, WORKER_TYPE: "nonsense" })).stderr).toContain(
      'error WORKER_TYPE_UNKNOWN: WORKER_TYPE is "nonsense"',
    );
  });

  it("sweeps what was left behind, and nothing of other tools or of those at work", async () => {
    const old = new Date(Date.now() - 3 * 86_400_000);
    const put = (path: string, time = old) => {
      mkdirSync(dirname(volume(path)), { recursive: true });
      writeFileSync(volume(path), "left");
      utimesSync(volume(path), time, time);
      for (let folder = dirname(path); folder.includes(".muster/path--"); folder = dirname(folder))
        utimesSync(volume(folder), time, time);
      utimesSync(dirname(volume(path)), time, time);
      return volume(path);
    };
    const uuid = "01234567-89ab-4cde-8f01-23456789abcd";
    const digest = "ab".repeat(32);
    const garbage = [
      put(`.muster/models/x.json.${uuid}.tmp`),
      put(`huggingface/hub/models--acme--tiny/blobs/${digest}`),
      put(`huggingface/hub/models--acme--tiny/.muster/${uuid}`),
      put(`huggingface/hub/models--acme--gone/.muster/ingest/sha256-${digest}.partial`),
      put(`ollama/blobs/sha256-${digest}`),
      put(`base-models/.muster/path--x/ingest/sha256-${digest}.partial`),
      put("base-models/.muster/path--x/ingest/sha256-x.journal"),
      put("base-models/.muster/path--y/staged/rev/weights/model.safetensors"),
      put(`.muster/contents/${digest}/000000000001`),
      put(".muster/leases/ollama%3agone/000000000001"),
    ];
    const kept = [
      put(`huggingface/hub/models--python--own/blobs/${digest}.incomplete`),
      put(`.muster/models/y.json.${uuid}.tmp`, new Date()),
      put("base-models/.muster/path--z/staged/rev/model.safetensors", new Date()),
      put(`huggingface/hub/models--acme--twin/.muster/ingest/sha256-${digest}.partial`, new Date()),
    ];
    const { leftBehind } = await at.json<{ leftBehind: { kind: string }[] }>("prune", "--dry-run");
    expect(new Set(leftBehind.map(({ kind }) => kind))).toEqual(new Set(["temporary", "partials", "orphans", "lease"]));
    expect(garbage.every(existsSync)).toBe(true);
    expect(await run("prune", "--yes")).toMatchObject({ code: 0 });
    expect(garbage.filter(existsSync)).toEqual([]);
    expect(kept.filter((path) => !existsSync(path))).toEqual([]);
    await isWhole();
  });
});

it("du counts what has several names once", async () => {
  const usage = await at.json<{ models: { location: string; bytes: number; ownBytes: number }[]; bytes: number }>("du");
  const [tiny, twin] = [TINY, TWIN].map((name) => usage.models.find(({ location }) => location === name)!);
  const big = bytesOf(repos[TINY]![BIG]!).length;
  expect(tiny!.bytes - tiny!.ownBytes).toBeGreaterThanOrEqual(big);
  expect(twin!.ownBytes).toBeLessThan(twin!.bytes);
  const sum = usage.models.reduce((total, { bytes }) => total + bytes, 0);
  expect(usage.bytes).toBeLessThan(sum - big / 2);
  expect((await run("du")).stdout).toMatch(/^SIZE +OF ITS OWN +MODEL\n/);
  expect(
    statSync(volume(".muster")).isDirectory() && readFileSync(volume("huggingface/hub/CACHEDIR.TAG"), "utf8"),
  ).toBeTruthy();
});
