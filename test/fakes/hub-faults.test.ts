import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { type Faults, type Hub, startHub } from "./hub/hub.ts";

const weights = randomBytes(200_000);
const small = "small ".repeat(200);

let hub: Hub;
let url: string;

beforeAll(async () => {
  hub = await startHub({ repos: [{ id: "acme/tiny", files: { "model.bin": weights, "a.json": small, "e.bin": "" } }] });
});
beforeEach(async () => {
  hub.reset();
  url = await sign();
});
afterAll(() => hub.close());

const asset = (name: string) => `${hub.url}/acme/tiny/resolve/main/${name}`;
const sign = async () => (await fetch(asset("model.bin"), { redirect: "manual" })).headers.get("location")!;
const set = (faults: Faults) => Object.assign(hub.faults, faults);
const part = (from: number, to: number) => fetch(url, { headers: { range: `bytes=${from}-${to}` } });

/** What arrived of a body, whether or not it ended well. */
async function arrived(answer: Response): Promise<{ bytes: Buffer; whole: boolean }> {
  const chunks: Uint8Array[] = [];
  try {
    for await (const chunk of answer.body!) chunks.push(chunk);
    return { bytes: Buffer.concat(chunks), whole: true };
  } catch {
    return { bytes: Buffer.concat(chunks), whole: false };
  }
}

it("counts down, skips and filters", async () => {
  set({ serverError: { times: 2, skip: 1, path: "a.json", method: "GET" } });
  const statuses: number[] = [];
  for (const name of ["a.json", "e.bin", "a.json", "a.json", "a.json"])
    statuses.push((await fetch(asset(name))).status);
  expect(statuses).toEqual([200, 200, 503, 503, 200]);
  expect(hub.faults.serverError).toMatchObject({ times: 0, skip: 0 });
});

it("rate limits hub and CDN separately", async () => {
  set({
    rateLimit: [
      { host: "hub", times: 1, seconds: 7 },
      { host: "cdn", times: 1, seconds: 3 },
    ],
  });
  const fromHub = await fetch(asset("a.json"));
  expect([fromHub.status, fromHub.headers.get("ratelimit")]).toEqual([429, '"api";r=0;t=7']);
  expect(fromHub.headers.get("ratelimit-policy")).toBe('"fixed window";"api";q=1000;w=300');
  const fromCdn = await fetch(url);
  expect([fromCdn.status, fromCdn.headers.get("retry-after")]).toEqual([429, "3"]);
  expect([(await fetch(asset("a.json"))).status, (await fetch(url)).status]).toEqual([200, 200]);
});

it("drops the connection after K bytes", async () => {
  set({ drop: { afterBytes: 70_000, times: 1 } });
  const { bytes, whole } = await arrived(await fetch(url));
  expect([bytes.equals(weights.subarray(0, 70_000)), whole]).toEqual([true, false]);
  expect(hub.bytesServed()).toBe(70_000);
  expect((await arrived(await fetch(url))).whole).toBe(true);
});

it("ignores Range", async () => {
  set({ ignoreRange: true });
  const answer = await part(10, 19);
  expect([answer.status, (await answer.bytes()).length]).toEqual([200, weights.length]);
});

it("flips a byte, only where a body holds it", async () => {
  set({ flipByte: { offset: 100, times: 1 } });
  expect(Buffer.from(await (await part(0, 99)).bytes())).toEqual(weights.subarray(0, 100));
  expect((await (await part(100, 100)).bytes())[0]).toBe(weights[100]! ^ 0xff);
  expect(Buffer.from(await (await fetch(url)).bytes()).equals(weights)).toBe(true);
});

it("announces a wrong Content-Range", async () => {
  set({ wrongContentRange: [{ times: 1 }, { value: "bytes 0-9/7" }] });
  expect((await part(10, 19)).headers.get("content-range")).toBe("bytes 11-20/200000");
  expect((await part(10, 19)).headers.get("content-range")).toBe("bytes 0-9/7");
});

it("sends more or less than the range", async () => {
  set({ longBody: { extraBytes: 5, times: 1 } });
  const long = await part(10, 19);
  expect([long.headers.get("content-range"), (await long.bytes()).length]).toEqual(["bytes 10-19/200000", 15]);
  set({ shortBody: { missingBytes: 4 } });
  expect((await (await part(10, 19)).bytes()).length).toBe(6);
});

it("changes the ETag between ranges", async () => {
  const before = (await part(0, 1)).headers.get("etag");
  set({ changeEtag: { skip: 1 } });
  const after = [await part(0, 1), await part(0, 1), await part(0, 1)].map(({ headers }) => headers.get("etag"));
  expect(after[0]).toBe(before);
  expect(new Set(after).size).toBe(3);
});

it("stalls before the first byte until the client leaves", async () => {
  set({ stallStart: { times: 1 } });
  await expect(fetch(url, { signal: AbortSignal.timeout(100) })).rejects.toThrow();
  expect((await fetch(url)).status).toBe(200);
});

it("stalls in the middle of the body", async () => {
  set({ stallBody: { afterBytes: 1000, times: 1 } });
  const abort = new AbortController();
  const body = arrived(await fetch(url, { signal: abort.signal }));
  await vi.waitFor(() => expect(hub.requests.at(-1)!.bytesSent).toBe(1000));
  await sleep(50);
  expect(hub.bytesServed()).toBe(1000);
  abort.abort();
  expect((await body).bytes.length).toBeLessThanOrEqual(1000);
  set({ stallBody: { afterBytes: 0, ms: 50 } });
  const begin = performance.now();
  expect((await arrived(await fetch(url))).whole).toBe(true);
  expect(performance.now() - begin).toBeGreaterThan(45);
});

it("sends slowly", async () => {
  set({ slow: { bytesPerSecond: 100_000 } });
  const begin = performance.now();
  await (await part(0, 19_999)).bytes();
  expect(performance.now() - begin).toBeGreaterThan(140);
});

it("expires signatures by use and by age", async () => {
  set({ expireSignatures: { afterUses: 2 } });
  expect([await fetch(url), await fetch(url), await fetch(url)].map(({ status }) => status)).toEqual([200, 200, 403]);
  expect((await fetch(await sign())).status).toBe(200);
  set({ expireSignatures: { afterMs: 30 } });
  const next = await sign();
  await sleep(40);
  expect((await fetch(next)).status).toBe(403);
});

it("sends small files around by a relative redirect", async () => {
  set({ relativeRedirect: true });
  const hop = await fetch(asset("a.json"), { redirect: "manual" });
  expect(hop.status).toBe(307);
  expect(hop.headers.get("location")).toMatch(
    /^\/api\/resolve-cache\/models\/acme\/tiny\/[0-9a-f]{40}\/a\.json\?etag=/,
  );
  const answer = await fetch(asset("a.json"));
  expect([await answer.text(), answer.headers.get("x-repo-commit")]).toEqual([small, hop.headers.get("x-repo-commit")]);
});

it("puts the CDN on the hub's host name", async () => {
  set({ cdnOnHubName: true });
  const location = new URL(await sign());
  expect([location.hostname, location.port]).toEqual(["127.0.0.1", new URL(hub.cdnUrl).port]);
  expect((await fetch(location)).status).toBe(200);
});

it("compresses small files", async () => {
  set({ gzip: true });
  const answer = await fetch(asset("a.json"));
  expect([answer.headers.get("content-encoding"), answer.headers.get("content-length")]).toEqual(["gzip", null]);
  expect(await answer.text()).toBe(small);
});

it("answers 416 for an empty file where it is told to be strict", async () => {
  set({ strictEmpty: true });
  expect((await fetch(asset("e.bin"), { headers: { range: "bytes=0-0" } })).status).toBe(416);
});

it("refuses connections of one host", async () => {
  set({ refuse: { host: "cdn" } });
  await expect(fetch(url)).rejects.toThrow();
  expect((await fetch(asset("a.json"))).status).toBe(200);
  hub.reset();
  expect((await fetch(await sign())).status).toBe(200);
});

it("lets a test hold a request back", async () => {
  const gate = Promise.withResolvers<void>();
  hub.onRequest = ({ path }) => (path.endsWith("a.json") ? gate.promise : undefined);
  let answered = false;
  const held = fetch(asset("a.json")).then(() => {
    answered = true;
  });
  await fetch(url);
  expect([answered, hub.peakRequests("hub")]).toEqual([false, 1]);
  gate.resolve();
  await held;
});
