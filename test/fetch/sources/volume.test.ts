import { cpSync, mkdirSync, readdirSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Variant } from "../../../src/model.ts";
import { type Hub, startHub } from "../../fakes/hub/hub.ts";
import { causalLmRepo, seededBytes } from "../../fakes/tiny-models.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";
import { modelSpec } from "../sync-context.ts";
import { differences, sync, wrongBlobs } from "../volume.ts";

/** Another volume, or a plain hub cache, as a mirror. */

const files = { ...causalLmRepo("acme/tiny", { shards: 2, sizeBytes: 3_000_000, withDuplicates: true }) };
let hub: Hub;
let commit: string;
let full: string;
let volume: string;
beforeAll(async () => {
  hub = await startHub({ repos: [{ id: "acme/other", files: { "model.safetensors": seededBytes(1000, 9) } }] });
  commit = hub.addRepo({ id: "acme/tiny", files }).commit;
});
beforeEach(async () => {
  hub.reset();
  volume = temporaryFolder();
  full = temporaryFolder();
  const { outcome } = await sync({ endpoint: hub.url, volume: full }, [modelSpec("acme/tiny")]);
  expect(outcome.error).toBeNull();
  hub.reset();
});
afterAll(() => hub.close());

const run = (endpoint: string, variant: Partial<Variant> = {}, id = "acme/tiny") =>
  sync({ endpoint, volume }, [modelSpec(id, variant)]);
const repo = (at = full) => join(at, "huggingface", "hub", "models--acme--tiny");

async function same(endpoint: string, variant: Partial<Variant> = {}) {
  const { outcome } = await run(endpoint, variant);
  expect(outcome.error).toBeNull();
  const { path, revision } = outcome.stored!;
  expect(revision).toBe(commit);
  expect(readdirSync(path).toSorted()).toEqual(readdirSync(join(repo(), "snapshots", commit)).toSorted());
  expect(wrongBlobs(repo(volume))).toEqual([]);
  return outcome;
}

describe("another volume", () => {
  it("gives what its record names, without a hub", async () => {
    await same(full);
    expect(hub.requests).toEqual([]);
    expect(readlinkSync(join(repo(volume), "snapshots", commit, "config.json"))).toBe(
      readlinkSync(join(repo(), "snapshots", commit, "config.json")),
    );
  });

  it("also for a pinned commit, and for the whole repository's other formats not", async () => {
    await same(full, { revision: commit });
    const { outcome } = await run(full, { revision: "no-such-branch" });
    expect(outcome.error).toMatchObject({ code: "REPO_NOT_FOUND", hint: expect.stringContaining("muster push") });
  });

  it("comes before a hub, or after one that is down", async () => {
    await same(`${full},${hub.url}`);
    expect(hub.requests).toEqual([]);
    volume = temporaryFolder();
    hub.faults.refuse = {};
    await same(`${hub.url},${full}`);
  });

  it("leaves to the hub what it does not hold", async () => {
    const { outcome } = await run(`${full},${hub.url}`, {}, "acme/other");
    expect(outcome.error).toBeNull();
  });

  it("that holds damaged bytes is passed over, and stays as it is", async () => {
    const blobs = join(repo(), "blobs");
    const large = readdirSync(blobs).find((name) => statSync(join(blobs, name)).size > 1_000_000)!;
    const { size } = statSync(join(blobs, large));
    rmSync(join(blobs, large));
    writeFileSync(join(blobs, large), Buffer.alloc(size, 7));
    const { outcome, notes } = await run(`${full},${hub.url}`);
    expect(outcome.error).toBeNull();
    expect(wrongBlobs(repo(volume))).toEqual([]);
    expect(notes.join("\n")).toContain(`${large} is not acme/tiny: `);
    expect(wrongBlobs(repo())).toEqual([large]);
    // Alone it is refused, with the file's name.
    volume = temporaryFolder();
    expect((await run(full)).outcome.error).toMatchObject({
      code: "DIGEST_MISMATCH",
      message: expect.stringContaining(".safetensors"),
    });
  });
});

describe("a plain hub cache", () => {
  it.each([
    ["at its own place", "huggingface/hub"],
    ["in a home", "hub"],
    ["itself", "."],
  ])("%s gives its snapshot", async (_what, at) => {
    const cache = temporaryFolder();
    cpSync(repo(), join(cache, at, "models--acme--tiny"), { recursive: true, verbatimSymlinks: true });
    await same(cache);
  });

  it("that holds single files only is no whole copy", async () => {
    for (const name of readdirSync(join(repo(), "snapshots", commit)).filter((each) => each.includes("00002-of")))
      rmSync(join(repo(), "snapshots", commit, name));
    rmSync(join(full, ".muster"), { recursive: true });
    expect((await run(full)).outcome.error).toMatchObject({ code: "REPO_NOT_FOUND" });
    for (const name of readdirSync(join(repo(), "snapshots", commit)).filter((each) => each !== "config.json"))
      rmSync(join(repo(), "snapshots", commit, name));
    expect((await run(full)).outcome.error).toMatchObject({ code: "REPO_NOT_FOUND" });
  });

  it("whose snapshot leads elsewhere is not believed", async () => {
    rmSync(join(full, ".muster"), { recursive: true });
    const secret = join(temporaryFolder(), "b".repeat(64));
    mkdirSync(join(repo(), "snapshots", commit), { recursive: true });
    writeFileSync(secret, "{}");
    symlinkSync(secret, join(repo(), "snapshots", commit, "extra.json"));
    expect((await run(full)).outcome.error).toMatchObject({ code: "REPO_NOT_FOUND" });
  });
});

it("a folder with nothing in it says what to do", async () => {
  const { outcome } = await run(temporaryFolder());
  expect(outcome.error).toMatchObject({
    code: "REPO_NOT_FOUND",
    hint: expect.stringContaining("muster push acme/tiny"),
  });
  expect(differences(temporaryFolder(), {})).toEqual([]);
});
