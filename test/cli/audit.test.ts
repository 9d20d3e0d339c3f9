import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, it, onTestFinished } from "vitest";
import type { AuditEntry } from "../../src/store/audit/entry.ts";
import { acquireLease } from "../../src/store/lease.ts";
import { runMuster, startMuster } from "../e2e/muster.ts";
import { until } from "../until.ts";
import { CHAT, TINY, TWIN, VISION, type VolumePlace, volumePlace } from "./volume-place.ts";

let at: VolumePlace;
const run = (...args: string[]) => runMuster(args, at.env);
const audit = async (...args: string[]) => (await at.json<{ entries: AuditEntry[] }>("audit", ...args)).entries;
beforeEach(async () => {
  at = await volumePlace();
  const place = at;
  onTestFinished(() => place[Symbol.asyncDispose]());
});

it("tells what each command has done to the volume, and who ran it", async () => {
  const fetched = await audit("--action", "fetched");
  expect(fetched.map(({ model }) => model?.location).toSorted()).toEqual([TINY, TWIN, CHAT, VISION].toSorted());
  const tiny = fetched.find(({ model }) => model?.location === TINY)!;
  expect(tiny).toMatchObject({ model: { revision: at.record(TINY).revision }, who: { command: "sync" } });
  expect(tiny.from).toEqual([expect.stringMatching(/^127\.0\.0\.1:\d+$/)]);
  expect(tiny.digests.length).toBe(tiny.files);

  const begun = new Date().toISOString();
  const since = ["--since", begun];
  const cold = join(at.here.folder, "cold");
  mkdirSync(cold);
  expect(await run("push", TWIN, cold)).toMatchObject({ code: 0 });
  expect(await run("archive", TINY, cold, "--yes")).toMatchObject({ code: 0 });
  expect(await run("remove", "vision", "--yes")).toMatchObject({ code: 0 });
  rmSync(join(at.here.volume, "huggingface/hub/models--acme--twin/snapshots", at.record(TWIN).revision, "config.json"));
  expect(await run("verify", TWIN, "--repair")).toMatchObject({ code: 0 });
  expect(await run("prune", "--max-size", "100kB", "--yes")).toMatchObject({ code: 0 });
  const done = (await audit(...since)).map(({ action, model, why }) => [action, model?.location, why]);
  expect(done).toEqual([
    ["pushed", TWIN, null],
    ["archived", TINY, null],
    ["removed", TINY, expect.stringMatching(/^archived to /)],
    ["removed", VISION, null],
    ["repaired", TWIN, null],
    ...done.slice(5),
  ]);
  expect(done.slice(5).toSorted()).toEqual([
    ["pruned", TWIN, "used longest ago"],
    ["pruned", CHAT, "used longest ago"],
  ]);
  // Nothing is noted of what is only planned.
  await run("remove", TINY, "--dry-run");
  expect(await audit(...since)).toHaveLength(done.length);

  const named = await run("audit", "--model", "tiny", "--since", "1d");
  expect(named.stdout).toMatch(
    /^\d{4}-\d\d-\d\d [\d:]{8} {2}fetched {3}huggingface:acme\/tiny@[0-9a-f]{12} {2}[\d.]+ MB in \d+ files {2}from 127\.0\.0\.1:\d+ by \S+@\S+: sync\n/,
  );
  expect(named.stdout.trim().split("\n")).toHaveLength(3);
  expect(await run("audit", "--model", "no/such")).toMatchObject({
    ...{ code: 0, stdout: "Nothing is recorded of that\n" },
    stderr: 'No entry of the trail names "no/such".\n',
  });
  // Of one that is named there may be nothing that is asked for.
  expect(await run("audit", "--model", "tiny", "--action", "locked")).toMatchObject({
    ...{ code: 0, stdout: "Nothing is recorded of that\n", stderr: "" },
  });
  const unknown = await run("audit", "--action", "removed", "--action", "nope");
  expect(unknown).toMatchObject({ code: 64, stdout: "" });
  expect(unknown.stderr).toMatch(
    /^error USAGE: --action is "nope", .+\nhint Give --action one of: fetched, .+, unlocked\.\n$/,
  );
  expect(await run("audit", "--since", "yesterday")).toMatchObject({ code: 64 });
});

it("tells of updates and bundles", async () => {
  const before = at.record(TINY).revision;
  const begun = new Date().toISOString();
  at.hub.updateRepo(TINY, { "tokenizer_config.json": "{}" });
  expect(await run("update", TINY)).toMatchObject({ code: 0 });
  const bundle = join(at.here.folder, "bundle.tar");
  expect(await run("export", TINY, bundle)).toMatchObject({ code: 0 });
  expect(await run("remove", TINY, "--yes")).toMatchObject({ code: 0 });
  expect(await run("import", bundle)).toMatchObject({ code: 0 });
  const entries = await audit("--since", begun, "--model", TINY);
  const after = at.record(TINY).revision;
  expect(after).not.toBe(before);
  expect(entries.map(({ action, model, why }) => [action, model?.revision, why])).toEqual([
    ["fetched", after, "beside the revision that the model has"],
    ["updated", after, `was at ${before}`],
    ["exported", after, null],
    ["removed", after, null],
    ["removed", before, null],
    ["imported", after, null],
  ]);
  const [fetched, , exported, , , imported] = entries;
  // The one file that is another.
  expect(fetched).toMatchObject({ files: 1, digests: [expect.stringMatching(/ tokenizer_config\.json$/)] });
  expect(exported).toMatchObject({ to: bundle, bytes: imported?.bytes });
  // What another model had too came from there.
  expect(imported?.from).toEqual([bundle]);
});

it("tells of pins and locks, where they change anything", async () => {
  const begun = new Date().toISOString();
  const lock = join(at.here.folder, "models.lock.json");
  for (const [command, ...more] of [["pin"], ["pin"], ["unpin"], ["lock", "--file", lock], ["lock", "--file", lock]])
    expect(await run(command!, TINY, ...more)).toMatchObject({ code: 0 });
  at.hub.updateRepo(TINY, { "tokenizer_config.json": "{}" });
  const before = at.record(TINY).revision;
  expect(await run("update", TINY)).toMatchObject({ code: 0 });
  expect(await run("lock", "--file", lock)).toMatchObject({ code: 0 });
  expect(await run("remove", TINY, "--yes")).toMatchObject({ code: 0 });
  expect(await run("lock", "--file", lock)).toMatchObject({ code: 0 });
  const ours = ["pinned", "unpinned", "locked", "unlocked"].flatMap((action) => ["--action", action]);
  const entries = await audit("--since", begun, "--model", TINY, ...ours);
  expect(entries.map(({ action, to, why }) => [action, to, why])).toEqual([
    ["pinned", null, null],
    ["unpinned", null, null],
    ["locked", lock, null],
    ["locked", lock, `was at ${before}`],
    ["unlocked", lock, null],
  ]);
  const { stdout } = await run("audit", "--action", "pinned");
  expect(stdout).toMatch(/ pinned +huggingface:acme\/tiny@[0-9a-f]{12} +by \S+@\S+: pin\n$/);
});

it("is written by agents as their worker, and followed by others", async () => {
  expect(await run("remove", TINY, "--yes")).toMatchObject({ code: 0 });
  await using follower = startMuster(["audit", "--follow", "--json", "--model", TINY], at.env);
  await follower.line(/"action":"removed"/);
  await using agent = startMuster(["start"], { ...at.env, WORKER_TYPE: "both", WORKER_ID: "worker-of-the-audit" });
  const line = await follower.line(/"action":"fetched".*worker-of-the-audit/);
  expect(JSON.parse(line)).toMatchObject({ who: { worker: "worker-of-the-audit", command: "start" } });
  agent.kill("SIGTERM");
  follower.kill("SIGINT");
  expect(await follower.exited).toMatchObject({ code: 0 });
});

it("has a removal that was killed on its way, before anything was gone", async () => {
  const lease = await acquireLease(join(at.here.volume, "ollama/.muster/lease"), { what: "the Ollama store" });
  const removing = startMuster(["remove", "vision", "--yes"], at.env);
  const trail = async () => (await audit("--action", "removed")).map(({ model }) => model?.location);
  await until("it is noted", async () => (await trail()).length > 0, 30_000);
  removing.kill("SIGKILL");
  await removing.exited;
  await lease.release();
  expect(existsSync(join(at.here.volume, "ollama/manifests/registry.ollama.ai/library/vision"))).toBe(true);
  expect(readdirSync(join(at.here.volume, ".muster/removing"))).toHaveLength(1);
  expect(await run("prune", "--yes")).toMatchObject({ code: 0 });
  expect(await trail()).toEqual([VISION]);
  const [swept] = await audit("--action", "swept");
  expect(swept).toMatchObject({ model: null, why: "a removal that was interrupted" });
});
