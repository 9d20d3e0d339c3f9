import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Hub, type HubRequest, startHub } from "../../fakes/hub/hub.ts";
import { seededBytes } from "../../fakes/tiny-models.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";
import { until } from "../../until.ts";
import { modelSpec, type SyncInput } from "../sync-context.ts";
import { bytesOf, differences, sync, wrongBlobs } from "../volume.ts";

const MIB = 1 << 20;
const BIG = "model-00001-of-00002.safetensors";
const SMALL = "model-00002-of-00002.safetensors";
const files = {
  "config.json": '{"model_type":"none"}',
  // Of two pieces and many blocks; and too small for a journal.
  [BIG]: seededBytes(20 * MIB + 321, 1),
  [SMALL]: seededBytes(100_001, 2),
};
const total = Object.values(files).reduce((sum, source) => sum + bytesOf(source).length, 0);
const TOKEN = "hf_xetxetxetxetxetxet";

let hub: Hub;
let second: Hub;
let volume: string;
beforeAll(async () => {
  [hub, second] = await Promise.all([
    startHub({ tokens: { [TOKEN]: { name: "bob", gatedAccess: ["acme/gated"] } } }),
    startHub(),
  ]);
  hub.addRepo({ id: "acme/xet", files, xet: true });
  hub.addRepo({ id: "acme/gated", files, xet: true, gated: "auto" });
  hub.addRepo({ id: "acme/plain", files });
  // The library keeps tokens: these have none yet.
  for (const id of ["acme/fresh", "acme/refused"]) hub.addRepo({ id, files, xet: true });
  second.addRepo({ id: "acme/refused", files });
});
beforeEach(() => {
  hub.reset();
  second.reset();
  volume = temporaryFolder();
});
afterAll(() => Promise.all([hub.close(), second.close()]));

/** Another place, without the model: so a hub is not tried for as long as where it is the last hope. */
const hasty = () => `${hub.url},${temporaryFolder()}`;
const run = (change: Partial<SyncInput> = {}, id = "acme/xet", signal?: AbortSignal) =>
  sync({ endpoint: hasty(), volume, retries: 1, ...change }, [modelSpec(id)], signal);
const repoFolder = (id = "acme/xet") => join(volume, "huggingface", "hub", `models--${id.replace("/", "--")}`);

const isBridge = ({ host, path }: HubRequest) => host === "cdn" && path.startsWith("/repos/");
const isBlock = ({ path }: HubRequest) => path.startsWith("/xet/xorbs/");
const isXet = ({ path }: HubRequest) => path.includes("xet-read-token") || path.startsWith("/xet/");
const bytesSent = (is: (request: HubRequest) => boolean) =>
  hub.requests.filter(is).reduce((sum, request) => sum + request.bytesSent, 0);
const sha256 = (path: keyof typeof files) => createHash("sha256").update(bytesOf(files[path])).digest("hex");
const breakBridge = (status = 503) => ({ host: "cdn", path: "/repos/", status }) as const;

/** What stands under its final name: weights, and the snapshot. */
function namedFiles(id?: string): string[] {
  const [blobs, snapshots] = ["blobs", "snapshots"].map((folder) => readdirSync(join(repoFolder(id), folder)));
  return [...blobs!.filter((name) => name.length === 64), ...snapshots!];
}

async function fetched(change: Partial<SyncInput> = {}, id?: string) {
  const { outcome, notes, progress } = await run(change, id);
  expect(outcome.error).toBeNull();
  expect(differences(outcome.stored!.path, files)).toEqual([]);
  expect(wrongBlobs(repoFolder(id))).toEqual([]);
  const done = progress.map(({ bytesDone }) => bytesDone);
  expect(Math.max(...done), "no more is done than there is").toBe(total);
  expect(Math.min(...done)).toBeGreaterThanOrEqual(0);
  return notes.join("\n");
}

async function failed(change: Partial<SyncInput> = {}, id?: string) {
  const { outcome, notes } = await run(change, id);
  expect(outcome.stored).toBeNull();
  expect(namedFiles(id)).toEqual([]);
  return { error: outcome.error!, notes: notes.join("\n") };
}

describe("a file in Xet", () => {
  it("is fetched by its plain link while that works, and Xet is not asked", async () => {
    expect(await fetched({ endpoint: hub.url })).not.toContain("Xet");
    expect(hub.requests.filter(isXet)).toEqual([]);
  });

  it.each([503, 404, 403])("whose plain link answers with %i comes through Xet", async (status) => {
    hub.faults.serverError = breakBridge(status);
    const notes = await fetched();
    expect(notes).toMatch(new RegExp(`${status}.* Going on with Xet`));
    expect(bytesSent(isBridge)).toBeLessThan(100_000);
  });

  it("whose plain link brings other bytes comes through Xet", async () => {
    hub.faults.flipByte = { host: "cdn", path: `/${BIG}`, offset: 5 * MIB };
    expect(await fetched({ endpoint: hub.url })).toMatch(/wrong sha256 digest.* Going on with Xet/);
  });

  it("whose plain link breaks in the middle is completed through Xet", async () => {
    hub.faults.serverError = { ...breakBridge(), path: BIG, skip: 3 };
    await fetched();
    const bridged = bytesSent(isBridge);
    expect(bridged).toBeGreaterThan(MIB);
    // Chunks are whole, and have heads.
    expect(bytesSent(isBlock)).toBeLessThan(total - bridged + 2 * MIB);
  });

  it("goes on where Xet itself breaks off, refuses a link or fails for a moment", async () => {
    hub.faults.serverError = [
      breakBridge(),
      { path: "/xet/v2/", times: 1 },
      { path: "/xet/xorbs/", times: 2, skip: 2, status: 403 },
      { path: "xet-read-token", times: 1 },
    ];
    hub.faults.drop = { path: "/xet/xorbs/", times: 2, afterBytes: 300_000 };
    await fetched({}, "acme/fresh");
    expect(bytesSent(isBlock)).toBeLessThan(total + 4 * MIB);
  });

  it("of which Xet has other bytes is dropped", async () => {
    hub.faults.serverError = breakBridge();
    hub.faults.flipByte = { path: "/xet/xorbs/", offset: 100 };
    const { error } = await failed();
    expect(error).toMatchObject({ code: "DIGEST_MISMATCH", message: expect.stringContaining("Xet") });
  });

  it("is given up at once when cancelled", async () => {
    hub.faults.serverError = breakBridge();
    hub.faults.stallBody = { path: "/xet/xorbs/", afterBytes: 200_000 };
    const cancel = new AbortController();
    const running = run({ stallTimeoutMs: 60_000 }, "acme/xet", cancel.signal);
    await until("it stalls", () => hub.requests.some((one) => isBlock(one) && one.bytesSent === 200_000));
    cancel.abort();
    expect((await running).outcome.error).toMatchObject({ code: "CANCELLED" });
    expect(namedFiles().filter((name) => name !== sha256(SMALL))).toEqual([]);
    // What had come is there for the next run.
    hub.reset();
    await fetched({ endpoint: hub.url });
    expect(bytesSent(isBridge)).toBeLessThan(total);
  });

  it("that Xet refuses too is asked of the next place", async () => {
    hub.faults.serverError = [breakBridge(), { path: "xet-read-token", status: 403 }];
    const notes = await fetched({ endpoint: `${hub.url},${second.url}` }, "acme/refused");
    expect(notes).toContain(`Going on with ${new URL(second.url).host}`);
  });
});

it("the hub's token goes to the hub only, and neither token is told", async () => {
  hub.faults.serverError = [breakBridge(), { path: "/xet/v2/", times: 1 }];
  const notes = await fetched({ token: TOKEN }, "acme/gated");
  const tokens = (is: (request: HubRequest) => boolean) => new Set(hub.requests.filter(is).map(({ token }) => token));
  expect(tokens(({ host }) => host === "hub")).toEqual(new Set([TOKEN]));
  expect(tokens(isBridge)).toEqual(new Set([undefined]));
  expect(tokens(isBlock)).toEqual(new Set([undefined]));
  const others = [...tokens(({ host }) => host === "cdn")].filter((token) => token !== undefined);
  expect(others.filter((token) => !token.startsWith("xet-"))).toEqual([]);
  expect(others.filter((token) => notes.includes(token))).toEqual([]);
  expect(notes).not.toMatch(/signature=[0-9a-f]{8}/i);
});

it("a file that is not in Xet has no other way: the error of its link is told", async () => {
  hub.faults.serverError = breakBridge();
  const { error, notes } = await failed({}, "acme/plain");
  expect(error.code).toBe("SERVER_ERROR");
  expect(notes).not.toContain("Xet");
  expect(hub.requests.filter(isXet)).toEqual([]);
});
