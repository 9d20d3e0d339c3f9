import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { type Hub, startHub } from "../fakes/hub/hub.ts";
import { seededBytes } from "../fakes/tiny-models.ts";
import { temporaryFolder } from "../store/temporary-folder.ts";
import { until } from "../until.ts";
import { modelSpec } from "./sync-context.ts";
import { bytesOf, differences, outcomeOf, type SyncProcess, startSync } from "./volume.ts";

/** Processes that fetch different models with a common file at the same moment. */

const MIB = 1 << 20;
const common = seededBytes(12 * MIB + 5, 1);
const NAMES = ["one", "two", "three"];
/** The common file, a large one of its own, and small ones. */
const filesOf = (name: string) => ({
  "config.json": `{"model_type":"${name}"}`,
  "tokenizer.json": name.repeat(10_000),
  [`${name}/common.safetensors`]: common,
  [`${name}/own.safetensors`]: seededBytes(3 * MIB + NAMES.indexOf(name), 2 + NAMES.indexOf(name)),
});

let hub: Hub;
let volume: string;
beforeAll(async () => {
  hub = await startHub({ repos: NAMES.map((name) => ({ id: `acme/${name}`, files: filesOf(name) })) });
});
beforeEach(() => {
  hub.reset();
  volume = temporaryFolder();
});
afterAll(() => hub.close());

const start = (...names: string[]) =>
  startSync(
    { endpoint: hub.url, volume, connections: 2 },
    names.map((name) => modelSpec(`acme/${name}`)),
  );
const commonServed = () =>
  NAMES.reduce((sum, name) => sum + hub.bytesServed({ file: `${name}/common.safetensors` }), 0);
const waits = ({ lines }: SyncProcess) =>
  lines.some(({ note }) => /^Waiting for .+, which is fetching .+common/.test(note ?? ""));
/** Who has begun to fetch the common file. */
const fetching = () =>
  NAMES.filter((name) =>
    hub.requests.some(({ host, path }) => host === "cdn" && path.endsWith(`${name}/common.safetensors`)),
  );
const leases = () => {
  const folder = join(volume, ".muster", "contents");
  return existsSync(folder) ? readdirSync(folder) : [];
};

async function expectDone(child: SyncProcess, name: string) {
  const { stored, error, fetchedBytes } = await outcomeOf(child);
  expect(error).toBeNull();
  expect(differences(stored!.path, filesOf(name))).toEqual([]);
  return { fetchedBytes, inode: statSync(join(stored!.path, `${name}/common.safetensors`)).ino };
}

it("fetch it once, and all of it is one file", async () => {
  const children = NAMES.map((name) => start(name));
  const done = await Promise.all(children.map((child, index) => expectDone(child, NAMES[index]!)));
  expect(commonServed()).toBe(common.length);
  expect(new Set(done.map(({ inode }) => inode)).size).toBe(1);
  const all = NAMES.flatMap((name) => Object.entries(filesOf(name)));
  const distinct = new Map(
    all.map(([path, source]) => [source === common ? "common" : path + source, bytesOf(source)]),
  );
  const bytes = [...distinct.values()].reduce((sum, { length }) => sum + length, 0);
  expect(hub.bytesServed() / bytes).toBeLessThanOrEqual(1.01);
  // What was not fetched is not counted as fetched.
  const fetched = done.reduce((sum, { fetchedBytes }) => sum + fetchedBytes, 0);
  expect(fetched / bytes).toBeLessThanOrEqual(1.01);
  expect(leases()).toEqual([]);
});

it("fetch all the rest before they wait, and say for whom", async () => {
  const gate = Promise.withResolvers<void>();
  hub.onRequest = ({ host, path }) =>
    host === "cdn" && path.endsWith("one/common.safetensors") ? gate.promise : undefined;
  const first = start("one");
  await until("the first asks for it", () => fetching().length > 0);
  const second = start("two");
  await until("the other waits for it", () => waits(second));
  expect(hub.bytesServed({ file: "two/own.safetensors" })).toBe(filesOf("two")["two/own.safetensors"]!.length);
  expect(fetching()).toEqual(["one"]);
  gate.resolve();
  await Promise.all([expectDone(first, "one"), expectDone(second, "two")]);
  expect(commonServed()).toBe(common.length);
});

it("take over from one that is killed in the middle: one of those that wait fetches it", async () => {
  hub.faults.stallBody = { path: "one/common", afterBytes: MIB / 4 };
  const first = start("one");
  await until("the first asks for it", () => fetching().length > 0);
  const others = { two: start("two"), three: start("three") };
  await until("the others wait for it", () => Object.values(others).every(waits));
  first.kill("SIGKILL");
  await first.exited;
  const killedAfter = commonServed();
  const done = await Promise.all(Object.entries(others).map(([name, child]) => expectDone(child, name)));
  expect(new Set(done.map(({ inode }) => inode)).size).toBe(1);
  expect(commonServed() - killedAfter).toBe(common.length);
  // Who comes back finds it.
  hub.reset();
  await expectDone(start("one"), "one");
  expect(commonServed()).toBe(0);
  expect(leases()).toEqual([]);
});

it("go on themselves where the other fails for good", async () => {
  const gate = Promise.withResolvers<void>();
  hub.onRequest = ({ host, path }) =>
    host === "cdn" && path.endsWith("one/common.safetensors") ? gate.promise : undefined;
  const first = start("one");
  await until("the first asks for it", () => fetching().length > 0);
  const second = start("two");
  await until("the other waits for it", () => waits(second));
  hub.faults.serverError = { path: "one/common", status: 404 };
  gate.resolve();
  expect((await outcomeOf(first)).error).toMatchObject({ code: expect.stringContaining("NOT_FOUND") });
  await expectDone(second, "two");
});

it("do not wait in a circle where each holds what the other wants", async () => {
  const [left, right] = [seededBytes(4 * MIB, 11), seededBytes(4 * MIB + 1, 12)];
  const crossed = {
    ab: { "a.safetensors": left, "b.safetensors": right },
    ba: { "c.safetensors": right, "d.safetensors": left },
  };
  for (const [name, files] of Object.entries(crossed)) hub.addRepo({ id: `acme/${name}`, files });
  const children = Object.keys(crossed).map((name) => start(name));
  const outcomes = await Promise.all(children.map(outcomeOf));
  for (const [index, files] of Object.values(crossed).entries()) {
    expect(outcomes[index]!.error).toBeNull();
    expect(differences(outcomes[index]!.stored!.path, files)).toEqual([]);
  }
  expect(hub.bytesServed()).toBe(left.length + right.length);
  expect(leases()).toEqual([]);
});
