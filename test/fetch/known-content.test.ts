import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { type Hub, startHub } from "../fakes/hub/hub.ts";
import { seededBytes } from "../fakes/tiny-models.ts";
import { temporaryFolder } from "../store/temporary-folder.ts";
import { modelSpec } from "./sync-context.ts";
import { differences, sync } from "./volume.ts";

const MIB = 1 << 20;
const weights = seededBytes(6 * MIB + 5, 7);
const one = { "config.json": '{"model_type":"one"}', "model.safetensors": weights };
const other = { "config.json": '{"model_type":"other"}', "copy/of.safetensors": weights };

let hub: Hub;
let volume: string;
beforeAll(async () => {
  hub = await startHub({
    repos: [
      { id: "acme/one", files: one },
      { id: "acme/other", files: other },
    ],
  });
});
beforeEach(() => {
  hub.reset();
  volume = temporaryFolder();
});
afterAll(() => hub.close());

const weightsServed = () =>
  hub.bytesServed({ file: "model.safetensors" }) + hub.bytesServed({ file: "copy/of.safetensors" });
const inodes = (paths: string[]) => new Set(paths.map((path) => statSync(path).ino));

it("is linked from a model that is there", async () => {
  const first = await sync({ endpoint: hub.url, volume }, [modelSpec("acme/one")]);
  const second = await sync({ endpoint: hub.url, volume }, [modelSpec("acme/other")]);
  const [a, b] = [first.outcome.stored!.path, second.outcome.stored!.path];
  expect([differences(a, one), differences(b, other)]).toEqual([[], []]);
  expect(weightsServed()).toBe(weights.length);
  expect(inodes([join(a, "model.safetensors"), join(b, "copy/of.safetensors")]).size).toBe(1);
});

it("is waited for where another model is fetching it", async () => {
  const { outcomes } = await sync({ endpoint: hub.url, volume }, [modelSpec("acme/one"), modelSpec("acme/other")]);
  const [a, b] = outcomes.map(({ stored }) => stored!.path) as [string, string];
  expect([differences(a, one), differences(b, other)]).toEqual([[], []]);
  expect(weightsServed()).toBe(weights.length);
  expect(inodes([join(a, "model.safetensors"), join(b, "copy/of.safetensors")]).size).toBe(1);
});

it("is fetched where the other copy is damaged", async () => {
  const first = await sync({ endpoint: hub.url, volume }, [modelSpec("acme/one")]);
  writeFileSync(join(first.outcome.stored!.path, "model.safetensors"), seededBytes(weights.length, 8));
  const second = await sync({ endpoint: hub.url, volume }, [modelSpec("acme/other")]);
  expect(differences(second.outcome.stored!.path, other)).toEqual([]);
  expect(weightsServed()).toBe(2 * weights.length);
});

it("counts once in a quota, and what would exceed that is refused before the first byte", async () => {
  const first = await sync({ endpoint: hub.url, volume, maxCacheBytes: 4 * MIB }, [modelSpec("acme/one")]);
  expect(first.outcome.error).toMatchObject({ code: "QUOTA_EXCEEDED" });
  expect(first.outcome.error!.message).toMatch(/needs 6\.3 MB, and of MAX_CACHE_GB \(4\.2 MB\) 4\.2 MB are left/);
  expect(weightsServed()).toBe(0);
  const quota = 7 * MIB;
  const second = await sync({ endpoint: hub.url, volume, maxCacheBytes: quota }, [modelSpec("acme/one")]);
  const third = await sync({ endpoint: hub.url, volume, maxCacheBytes: quota }, [modelSpec("acme/other")]);
  expect([second.outcome.error, third.outcome.error]).toEqual([null, null]);
});
