import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { type Env, LAUNCHER, place, runMuster, startMuster } from "../e2e/muster.ts";
import { differences, filesBelow } from "../fetch/volume.ts";
import { until } from "../until.ts";
import { CHAT, repos, TINY, TWIN, VISION, type VolumePlace, volumePlace } from "./volume-place.ts";

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
  const here = place({ HF_ENDPOINT: "http://127.0.0.1:9", HF_HUB_OFFLINE: "1", WORKER_TYPES_FILE: at.env.WORKER_TYPES_FILE, ...env });
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
  expect({ code, stdout, stderr }).toMatchObject({ code: 0, stdout: expect.stringMatching(/^(\d+) of \1 models are right/) });
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
  const { code, stdout } = await there("sync", "all");
  expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/4 of 4 models complete .+ 0 B fetched now/) });
}

describe("export and import", () => {
  it("take a whole volume elsewhere; a second time nothing is written", async () => {
    const file = outside("all.tar");
    const exported = await run("export", "--all", file);
    expect(exported).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Exported 4 models to .+all\.tar \([\d.]+ MB\)\nsha256 of its manifest: [0-9a-f]{64}\n$/) });
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
});
