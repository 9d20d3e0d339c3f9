import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { closedPort } from "../e2e/services.ts";
import { type Faults, type Hub, startHub } from "../fakes/hub/hub.ts";
import { seededBytes } from "../fakes/tiny-models.ts";
import { temporaryFolder } from "../store/temporary-folder.ts";
import { until } from "../until.ts";
import { modelSpec, type SyncInput } from "./sync-context.ts";
import { bytesOf, differences, startSync, sync } from "./volume.ts";

const MIB = 1 << 20;
const BIG = "model.safetensors";
const files = {
  "config.json": '{"model_type":"none"}',
  "tokenizer.json": "t".repeat(100_000),
  [BIG]: seededBytes(20 * MIB + 321, 1),
};
const bigBytes = bytesOf(files[BIG]!).length;
const TOKEN = "hf_mirrormirrormirror";

let first: Hub;
let second: Hub;
let commit: string;
let volume: string;
beforeAll(async () => {
  const options = () => ({ tokens: { [TOKEN]: { name: "bob", gatedAccess: ["acme/gated"] } } });
  [first, second] = await Promise.all([startHub(options()), startHub(options())]);
  for (const hub of [first, second]) {
    commit = hub.addRepo({ id: "acme/model", files }).commit;
    hub.addRepo({ id: "acme/gated", files, gated: "auto" });
  }
  second.addRepo({ id: "acme/only-second", files });
});
beforeEach(() => {
  first.reset();
  second.reset();
  volume = temporaryFolder();
});
afterAll(() => Promise.all([first.close(), second.close()]));

const run = (endpoint: string, change: Partial<SyncInput> = {}, id = "acme/model") =>
  sync({ endpoint, volume, retries: 1, ...change }, [modelSpec(id)]);
const both = () => `${first.url},${second.url}`;
const snapshot = (id = "acme/model") =>
  join(volume, "huggingface", "hub", `models--${id.replace("/", "--")}`, "snapshots", commit);

async function fetched(endpoint: string, change: Partial<SyncInput> = {}, id?: string) {
  const { outcome, notes } = await run(endpoint, change, id);
  expect(outcome.error).toBeNull();
  expect(differences(outcome.stored!.path, files)).toEqual([]);
  return notes;
}

describe("several hubs", () => {
  it("are asked in their order: while the first has everything, the second is not asked", async () => {
    await fetched(both());
    expect(second.requests).toEqual([]);
  });

  it("stand in for one that refuses connections", async () => {
    await fetched(`http://127.0.0.1:${await closedPort()},${second.url}`);
    expect(second.bytesServed({ file: BIG })).toBe(bigBytes);
  });

  it.each<[string, Faults, Partial<SyncInput>]>([
    ["that only answers with 503", { serverError: {} }, {}],
    ["that limits the rate of requests", { rateLimit: { seconds: 0 } }, {}],
    ["that never answers", { stallStart: {} }, { stallTimeoutMs: 300 }],
  ])("stand in for one %s", async (_what, faults, change) => {
    Object.assign(first.faults, faults);
    await fetched(both(), change);
    expect(second.bytesServed({ file: BIG })).toBe(bigBytes);
    expect(first.bytesServed({ file: BIG })).toBe(0);
  });

  it("stand in for one that does not have the model, or not for this account", async () => {
    await fetched(both(), {}, "acme/only-second");
    // On one volume the same content would be taken from the other model.
    volume = temporaryFolder();
    first.tokens[TOKEN]!.gatedAccess = [];
    await fetched(both(), { token: TOKEN }, "acme/gated");
    first.tokens[TOKEN]!.gatedAccess = ["acme/gated"];
    expect(second.bytesServed({ repo: "acme/gated", file: BIG })).toBe(bigBytes);
  });

  it("stand in for one that serves other bytes: what is wrong is dropped", async () => {
    first.faults.flipByte = { path: BIG, offset: 5 * MIB };
    const notes = await fetched(both());
    expect(notes.join("\n")).toContain("wrong sha256 digest");
    expect(notes.join("\n")).toContain(`Going on with ${new URL(second.url).host}`);
    expect(second.bytesServed({ file: BIG })).toBe(bigBytes);
  });

  it("go on where one died in the middle of a file", { timeout: 180_000 }, async () => {
    let died = false;
    first.onRequest = ({ path }) => {
      died ||= first.bytesServed({ file: BIG }) > 2 * MIB;
      if (died && path) first.faults.refuse = {};
    };
    first.faults.drop = { path: BIG, afterBytes: 3 * MIB, skip: 1 };
    const notes = await fetched(both());
    const kept = bigBytes - second.bytesServed({ file: BIG });
    expect(kept).toBeGreaterThan(0);
    expect(kept).toBeLessThanOrEqual(first.bytesServed({ file: BIG }));
    expect(notes.join("\n")).toContain(`Going on with ${new URL(second.url).host}`);
  });

  it("stand in at once for one that asks to be left alone for long, which is then left alone", async () => {
    first.faults.rateLimit = { retryAfter: "600" };
    await fetched(both(), { retries: 4 });
    expect(second.bytesServed({ file: BIG })).toBe(bigBytes);
    expect(first.requests).toHaveLength(1);
  });

  it("go on where one asked for a long wait in the middle of a file", async () => {
    first.faults.serverError = { host: "cdn", skip: 1, retryAfter: "600" };
    const notes = await fetched(both(), { retries: 4 });
    expect(notes.join("\n")).toContain(`Going on with ${new URL(second.url).host}`);
    expect(second.bytesServed({ file: BIG })).toBeGreaterThan(0);
  });

  it("all of them asking for a long wait: the shortest is waited for, and told", async () => {
    first.faults.rateLimit = { host: "cdn", retryAfter: "600" };
    second.faults.rateLimit = { host: "cdn", retryAfter: "300" };
    const child = startSync({ endpoint: both(), volume, retries: 1 }, [modelSpec("acme/model")]);
    const told = await until("it waits", () => child.lines.find(({ note }) => note?.includes("is left: waiting")));
    expect(told.note).toMatch(new RegExp(`^${new URL(second.url).host} asked not to be asked for another (299|300) s`));
  });

  it("all of them down: the error of the first is told", async () => {
    first.faults.serverError = {};
    second.faults.refuse = {};
    const { outcome } = await run(both());
    expect(outcome.error).toMatchObject({
      code: "SERVER_ERROR",
      message: expect.stringContaining(new URL(first.url).host),
    });
    expect(existsSync(snapshot())).toBe(false);
  });

  it("are each sent the token, and hosts that they lead to are not", async () => {
    first.faults.serverError = { path: "/resolve/" };
    await fetched(both(), { token: TOKEN }, "acme/gated");
    for (const hub of [first, second]) {
      const told = hub.requests.filter(({ host }) => host === "hub").map(({ token }) => token);
      expect(new Set(told)).toEqual(new Set([TOKEN]));
      expect(hub.requests.filter(({ host, authorization }) => host === "cdn" && authorization)).toEqual([]);
    }
  });

  it("leave a fetched model alone: nobody is asked again", async () => {
    await fetched(both());
    const record = readFileSync(join(snapshot(), "config.json"));
    first.reset();
    await fetched(`http://127.0.0.1:${await closedPort()}`);
    expect(readFileSync(join(snapshot(), "config.json"))).toEqual(record);
    expect([...first.requests, ...second.requests]).toEqual([]);
  });
});
