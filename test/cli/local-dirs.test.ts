import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, it, onTestFinished } from "vitest";
import { runMuster } from "../e2e/muster.ts";
import type { FileSource } from "../fakes/hub/hub.ts";
import { seededBytes } from "../fakes/tiny-models.ts";
import { differences } from "../fetch/volume.ts";
import { BIG, repos, TINY, TWIN, type VolumePlace, volumePlace } from "./volume-place.ts";

const WANTED = { LOCAL_DIRS: "true" };
const CHANGED = { [BIG]: seededBytes(300 << 10, 71), "config.json": "{}" };
const [files, twin] = [TINY, TWIN].map((name) => {
  const { ".gitattributes": _, ...rest } = repos[name]!;
  return rest;
}) as [Record<string, FileSource>, Record<string, FileSource>];
/** No other model has it. */
const SHARD = "model-00001-of-00002.safetensors";

let at: VolumePlace;
const run = (args: string[], env = {}) => runMuster(args, { ...at.env, ...env });
const volume = (...path: string[]) => join(at.here.volume, ...path);
const folder = (...path: string[]) => volume("acme-tiny", ...path);
const snapshot = (path: string) =>
  volume("huggingface/hub/models--acme--tiny/snapshots", at.record(TINY).revision, path);
const isLinked = (path: string) => statSync(folder(path)).ino === statSync(realpathSync(snapshot(path))).ino;
const leftOvers = () => readdirSync(volume(".muster/local")).filter((name) => !name.endsWith(".json"));

beforeEach(async () => {
  at = await volumePlace();
  const place = at;
  onTestFinished(() => place[Symbol.asyncDispose]());
});

it("shows models of the hub as plain folders, of the same bytes", async () => {
  expect(existsSync(folder())).toBe(false);
  at.hub.reset();
  const first = await run(["sync", "all"], WANTED);
  expect(first).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/4 of 4 models complete .+ 0 B fetched now\n$/),
  });
  expect(at.hub.requests).toEqual([]);
  expect(differences(folder(), files)).toEqual([]);
  expect(Object.keys(files).every(isLinked)).toBe(true);
  expect(existsSync(volume("acme-twin", BIG))).toBe(true);
  expect((await run(["show", TINY])).stdout).toMatch(new RegExp(`^plain folder +${folder()}$`, "m"));
  const made = statSync(folder()).ino;
  expect(await run(["sync", "all"], WANTED)).toMatchObject({ code: 0 });
  expect(statSync(folder()).ino).toBe(made);
  expect(await run(["verify"])).toMatchObject({ code: 0 });
  expect(leftOvers()).toEqual([]);
});

it("goes with the model: on, back, mended, away; also where nobody asks for folders any more", async () => {
  expect((await run(["sync", "all"], WANTED)).code).toBe(0);
  at.hub.updateRepo(TINY, CHANGED);
  expect((await run(["update", TINY])).code).toBe(0);
  expect(differences(folder(), { ...files, ...CHANGED })).toEqual([]);
  expect((await run(["update", TINY, "--to", "previous"])).code).toBe(0);
  expect(differences(folder(), files)).toEqual([]);
  const blob = realpathSync(snapshot(SHARD));
  writeFileSync(blob, seededBytes(statSync(blob).size, 99));
  expect((await run(["verify", TINY, "--repair"])).code).toBe(0);
  expect(differences(folder(), files)).toEqual([]);
  expect(isLinked(SHARD)).toBe(true);
  expect((await run(["remove", TINY, "--yes"])).code).toBe(0);
  expect(existsSync(folder())).toBe(false);
  expect(readdirSync(volume(".muster/local"))).toEqual(["acme-twin.json"]);
  expect(differences(volume("acme-twin"), twin)).toEqual([]);
});

it("what a kill has left in the middle is made whole", async () => {
  expect((await run(["sync", "tiny"], WANTED)).code).toBe(0);
  // Between the two renames.
  rmSync(folder(), { recursive: true });
  mkdirSync(volume(".muster/local/acme-tiny.staged"));
  mkdirSync(volume(".muster/local/acme-tiny.hidden"));
  expect((await run(["sync", "tiny"], WANTED)).code).toBe(0);
  expect(differences(folder(), files)).toEqual([]);
  expect(leftOvers()).toEqual([]);
});

it("what a kill has left goes with the model", async () => {
  expect((await run(["sync", "tiny"], WANTED)).code).toBe(0);
  const [staged, hidden] = ["staged", "hidden"].map((name) => volume(`.muster/local/acme-tiny.${name}`));
  for (const left of [staged!, hidden!]) {
    mkdirSync(left);
    linkSync(realpathSync(snapshot(SHARD)), join(left, SHARD));
  }
  expect((await run(["remove", TINY, "--yes"])).code).toBe(0);
  expect(existsSync(folder())).toBe(false);
  expect(readdirSync(volume(".muster/local"))).toEqual([]);
});

it("another repository of the same folder name matters only where folders are wanted", async () => {
  mkdirSync(volume(".muster/local"), { recursive: true });
  writeFileSync(
    volume(".muster/local/acme-tiny.json"),
    JSON.stringify({ formatVersion: 1, location: "acme-tiny/other" }),
  );
  rmSync(snapshot(SHARD));
  expect((await run(["sync", "tiny"])).code).toBe(0);
  expect(existsSync(snapshot(SHARD))).toBe(true);
  const refused = await run(["sync", "tiny"], WANTED);
  expect(refused).toMatchObject({ code: 78, stderr: expect.stringContaining("LOCAL_DIR_REFUSED") });
  expect(existsSync(folder())).toBe(false);
});

it("leaves alone what it has not made", async () => {
  mkdirSync(folder());
  writeFileSync(folder("mine.txt"), "mine");
  const refused = await run(["sync", "tiny"], WANTED);
  expect(refused).toMatchObject({
    code: 78,
    stderr: expect.stringMatching(
      /LOCAL_DIR_REFUSED: tiny: \S+acme-tiny is not muster's, .+\nhint Move it away \(`mv /,
    ),
  });
  expect((await run(["remove", TINY, "--yes"])).code).toBe(0);
  expect(readFileSync(folder("mine.txt"), "utf8")).toBe("mine");
});

it("says where there can be no hard links", async () => {
  const elsewhere = { ...WANTED, HF_HUB_CACHE: `/dev/shm/muster-hub-${process.pid}` };
  onTestFinished(() => rmSync(elsewhere.HF_HUB_CACHE, { recursive: true, force: true }));
  mkdirSync(elsewhere.HF_HUB_CACHE);
  if (statSync(elsewhere.HF_HUB_CACHE).dev === statSync(at.here.volume).dev) return;
  const refused = await run(["sync", "tiny"], elsewhere);
  expect(refused).toMatchObject({
    code: 78,
    stderr: expect.stringMatching(/LOCAL_DIR_REFUSED: .+ cannot be made of hard links/),
  });
  expect(existsSync(folder())).toBe(false);
});
