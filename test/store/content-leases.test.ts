import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeEach, expect, it } from "vitest";
import type { FileSpec } from "../../src/model.ts";
import { ContentLeases } from "../../src/store/content-leases.ts";
import { createLayout, type Layout } from "../../src/store/layout.ts";
import { acquireLease } from "../../src/store/lease.ts";
import { temporaryFolder } from "./temporary-folder.ts";

/** A holder that is waited for this long is never given up within a test. */
const NEVER = 3_600_000;
const patient = { pollMs: 2, expiryMs: NEVER };
const file: FileSpec = { path: "model.safetensors", size: 3, digest: { algorithm: "sha256", hex: "ab".repeat(32) } };

let layout: Layout;
beforeEach(() => {
  const volume = temporaryFolder();
  layout = createLayout(volume, join(volume, "hub"), join(volume, "ollama"));
});

const modelOf = (location: string) => ({ location, requestedRevision: "main", revision: "c".repeat(40) });

async function holder(location: string) {
  const name = `huggingface:${location}`;
  const lease = await acquireLease(layout.lease(name), { what: name });
  const owner = {
    layout,
    lease: { name, number: lease.number },
    source: "huggingface",
    model: modelOf(location),
  } as const;
  return { lease, contents: new ContentLeases(owner) };
}

function bring(location: string): string {
  const place = layout.hub.blob(location, file.digest);
  mkdirSync(dirname(place), { recursive: true });
  writeFileSync(place, "abc");
  return place;
}

it("are had by the first, and by the next once they are given back", async () => {
  const [first, second] = [await holder("acme/one"), await holder("acme/two")];
  expect(await first.contents.take([file])).toEqual(new Set());
  expect(await second.contents.take([file])).toEqual(new Set([file]));
  await first.contents[Symbol.asyncDispose]();
  expect(await second.contents.arrival(file, patient)).toBeNull();
  await second.contents[Symbol.asyncDispose]();
  expect(readdirSync(dirname(layout.contentLease(file.digest)))).toEqual([]);
});

it("tell where the content is as soon as it stands there, and when all is done and given back", async () => {
  const [first, second] = [await holder("acme/one"), await holder("acme/two")];
  await first.contents.take([file]);
  await second.contents.take([file]);
  const told = Promise.withResolvers<string>();
  const arrival = second.contents.arrival(file, { ...patient, onWait: ({ what }) => told.resolve(what) });
  expect(await told.promise).toBe("huggingface:acme/one");
  const place = bring("acme/one");
  expect(await arrival).toBe(place);
  await first.contents[Symbol.asyncDispose]();
  await first.lease.release();
  expect(await second.contents.arrival(file, patient)).toBe(place);
});

it("are as good as the lease of the model: released, lost or silent for long, it holds nothing", async () => {
  for (const end of ["released", "lost", "silent"]) {
    const first = await holder(`acme/${end}`);
    const second = await holder("acme/two");
    await first.contents.take([file]);
    expect((await second.contents.take([file])).size, end).toBe(1);
    if (end === "released") await first.lease.release();
    if (end === "lost") writeFileSync(join(layout.lease(`huggingface:acme/${end}`), "000000000007"), "");
    const options = end === "silent" ? { pollMs: 2, expiryMs: 30 } : patient;
    if (end === "lost")
      await acquireLease(layout.lease(`huggingface:acme/${end}`), { what: "x", pollMs: 2, expiryMs: 10 });
    expect(await second.contents.arrival(file, options), end).toBeNull();
    await second.contents[Symbol.asyncDispose]();
    await second.lease.release();
  }
});

it("keep nobody with a text that says nothing, nor where none can be written", async () => {
  const folder = layout.contentLease(file.digest);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "000000000041"), "");
  const { contents } = await holder("acme/one");
  // It may be about to be written.
  expect((await contents.take([file])).size).toBe(1);
  expect(await contents.arrival(file, { pollMs: 2, expiryMs: 20 })).toBeNull();
  expect(readdirSync(folder)).toEqual(["000000000042"]);
  await contents[Symbol.asyncDispose]();
  writeFileSync(folder, "not a folder");
  expect(await contents.take([file])).toEqual(new Set());
});

it("are given up waiting for when told so", async () => {
  const [first, second] = [await holder("acme/one"), await holder("acme/two")];
  await first.contents.take([file]);
  const stop = new AbortController();
  const arrival = second.contents.arrival(file, { ...patient, signal: stop.signal, onWait: () => stop.abort() });
  await expect(arrival).rejects.toMatchObject({ name: "AbortError" });
});
