import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { type Env, place, runMuster } from "../e2e/muster.ts";
import { BUCKET, type S3, S3_KEYS, S3_MISSING, startS3 } from "../fakes/s3.ts";
import { seededBytes } from "../fakes/tiny-models.ts";

const URL = `s3://${BUCKET}/tiny`;
const weights = seededBytes(300_000, 1);

async function putObject(s3: S3, key: string, body: string | Uint8Array) {
  const sha256 = createHash("sha256").update(body).digest("hex");
  await s3.put(key, body, { Metadata: { sha256 } });
}

async function bucketWithModel() {
  const s3 = await startS3();
  const [here, there] = [place(), place()];
  onTestFinished(async () => {
    for (const each of [here, there]) each[Symbol.dispose]();
    await s3[Symbol.asyncDispose]();
  });
  await putObject(s3, "tiny/model.safetensors", weights);
  await putObject(s3, "tiny/config.json", "{}");
  const models = { tiny: { task: "chat", variants: [{ source: "s3", url: URL, engine: "vllm" }] } };
  const catalog = join(here.folder, "catalog.json");
  writeFileSync(catalog, JSON.stringify({ models, workerTypes: { own: { gpu: "none", models: ["tiny"] } } }));
  const lock = join(here.folder, "models.lock.json");
  const more = { ...S3_KEYS, S3_ENDPOINT: s3.url, WORKER_TYPES_FILE: catalog, MODELS_LOCK: lock };
  const at = (env: Env) => async (args: string[], wanted: number) => {
    const { code, stdout, stderr } = await runMuster([...args, "--json"], { ...env, ...more });
    expect({ args, code, stderr }).toEqual({ args, code: wanted, stderr: expect.any(String) });
    return stdout ? JSON.parse(stdout).models : JSON.parse(stderr.trim().split("\n").at(-1)!).error;
  };
  return { s3, here: at(here.env), there: at(there.env) };
}

describe.skipIf(S3_MISSING)("a model of an object store", () => {
  it("moves on by its changed files, and goes back without asking", async () => {
    const { s3, here } = await bucketWithModel();
    const [{ revision: first }] = await here(["sync", "tiny"], 0);
    expect(await here(["outdated"], 0)).toMatchObject([{ state: "current", revision: first }]);
    await putObject(s3, "tiny/config.json", '{"new":true}');
    expect(await here(["outdated"], 1)).toMatchObject([
      { state: "outdated", changedFiles: ["config.json"], bytesToFetch: 12 },
    ]);
    expect(await here(["update", "tiny"], 0)).toMatchObject([{ state: "updated", bytesFetched: 12 }]);
    s3.reset();
    expect(await here(["update", "tiny", "--to", "previous"], 0)).toMatchObject([{ latestRevision: first }]);
    expect(s3.requests).toEqual([]);
    expect(await here(["verify"], 0)).toMatchObject([{ state: "right" }, { state: "right" }]);
  });

  it("is locked to what it was, and elsewhere refused as anything else", async () => {
    const { s3, here, there } = await bucketWithModel();
    const [{ revision: first }] = await here(["sync", "tiny"], 0);
    await here(["lock"], 0);
    await putObject(s3, "tiny/config.json", '{"new":true}');
    expect(await there(["sync", "tiny", "--locked"], 78)).toMatchObject([{ error: { code: "LOCKED_GONE" } }]);
    await putObject(s3, "tiny/config.json", "{}");
    expect(await there(["sync", "tiny", "--locked"], 0)).toMatchObject([{ state: "stored", revision: first }]);
  });
});
