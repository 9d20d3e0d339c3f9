import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { HttpClient } from "../../../src/fetch/http-client.ts";
import { openTarget } from "../../../src/fetch/push/open-target.ts";
import { pushModel } from "../../../src/fetch/push/push-model.ts";
import { bucketOpener } from "../../../src/fetch/s3/open-bucket.ts";
import type { StoredModel, Variant } from "../../../src/model.ts";
import { redact } from "../../../src/redact.ts";
import { closedPort } from "../../e2e/services.ts";
import { type FileSource, type Hub, startHub } from "../../fakes/hub/hub.ts";
import { BUCKET, type S3, S3_MISSING, startS3 } from "../../fakes/s3.ts";
import { causalLmRepo, seededBytes } from "../../fakes/tiny-models.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";
import { modelSpec, openTransfer, type SyncInput, syncContext } from "../sync-context.ts";
import { bytesOf, differences, outcomeOf, startSync, sync, wrongBlobs } from "../volume.ts";

const MIB = 1 << 20;
const files: Record<string, FileSource> = {
  ...causalLmRepo("acme/tiny", { shards: 2, sizeBytes: 2 * MIB }),
  "model-00003-of-00003.safetensors": seededBytes(18 * MIB + 77, 3),
  "sub folder/ü#1.json": "{}",
  "empty.txt": "",
};
const BIG = "model-00003-of-00003.safetensors";
const wanted = Object.fromEntries(Object.entries(files).filter(([path]) => path !== ".gitattributes"));
const PUSHED = "prod/base-models/acme-tiny";
const sha256 = (source: FileSource) => createHash("sha256").update(bytesOf(source)).digest("hex");

describe.skipIf(S3_MISSING)("an object store", () => {
  let s3: S3;
  let hub: Hub;
  let stored: StoredModel;
  let full: string;
  let volume: string;
  beforeAll(async () => {
    [s3, hub] = await Promise.all([
      startS3(),
      startHub({
        repos: [
          { id: "acme/tiny", files },
          { id: "acme/other", files: { "model.safetensors": seededBytes(100, 1) } },
        ],
      }),
    ]);
    return () => Promise.all([s3[Symbol.asyncDispose](), hub.close()]);
  });
  afterAll(() => rmSync(full, { recursive: true, force: true }));
  beforeAll(async () => {
    full = mkdtempSync(join(tmpdir(), "muster-test-"));
    const { outcome } = await sync({ endpoint: hub.url, volume: full }, [modelSpec("acme/tiny")]);
    stored = outcome.stored!;
    await push(`s3://${BUCKET}/prod`);
  });
  beforeEach(() => {
    s3.reset();
    hub.reset();
    volume = temporaryFolder();
  });

  const input = (endpoint: string, change: Partial<SyncInput> = {}): SyncInput => ({
    endpoint,
    volume,
    s3Endpoint: s3.url,
    retries: 1,
    ...change,
  });
  const mirror = `s3://${BUCKET}/prod`;
  const run = (endpoint: string, variant: Partial<Variant> = {}, change: Partial<SyncInput> = {}) =>
    sync(input(endpoint, change), [modelSpec("acme/tiny", variant)]);
  const own = (location: string): Partial<Variant> => ({ source: "s3", location });
  const gets = (path: string) =>
    s3.requests.filter(
      (request) => request.method === "GET" && request.path.endsWith(path) && request.query.has("X-Amz-Signature"),
    );

  async function push(destination: string, model = stored) {
    await using transfer = openTransfer(input(""));
    const context = syncContext({ ...input(""), volume: full }, transfer);
    const target = await openTarget(destination, model, { ...context, stateFolder: async () => full });
    const nothing = () => undefined;
    return await pushModel(model, target, {
      signal: new AbortController().signal,
      dryRun: false,
      onPlan: nothing,
      onBytes: nothing,
    });
  }

  describe("as a mirror of a hub", () => {
    it("gives the whole model by signed ranges, byte for byte, and no hub is asked", async () => {
      const { outcome } = await run(`${mirror},${hub.url}`);
      expect(outcome.error).toBeNull();
      expect(outcome.stored!.revision).toBe(stored.revision);
      expect(differences(outcome.stored!.path, wanted)).toEqual([]);
      expect(wrongBlobs(join(volume, "huggingface/hub/models--acme--tiny"))).toEqual([]);
      expect(hub.requests).toEqual([]);
      expect(gets(BIG).length).toBeGreaterThan(1);
      expect(gets(BIG).every(({ range }) => range)).toBe(true);
      expect(gets(BIG).reduce((sum, { bytesSent }) => sum + bytesSent, 0)).toBe(bytesOf(files[BIG]!).length);
    });

    it("that lacks the model, or the revision, or is down, leaves it to the next", async () => {
      const other = await sync(input(`${mirror},${hub.url}`), [modelSpec("acme/other")]);
      expect(other.outcome.error).toBeNull();
      const { commit } = hub.updateRepo("acme/tiny", { "new.json": "{}" }, "next");
      expect((await run(`${mirror},${hub.url}`, { revision: "next" })).outcome.stored!.revision).toBe(commit);
      volume = temporaryFolder();
      expect((await run(mirror, { revision: "next" })).outcome.error).toMatchObject({ code: "REVISION_NOT_FOUND" });
      const down = { s3Endpoint: `http://127.0.0.1:${await closedPort()}` };
      expect((await run(`${mirror},${hub.url}`, {}, down)).outcome.error).toBeNull();
      volume = temporaryFolder();
      expect((await run(mirror, {}, down)).outcome.error).toMatchObject({
        code: "HOST_UNREACHABLE",
        hint: expect.stringContaining("S3_ENDPOINT"),
      });
    });

    it("is not taken for other files of the model than it holds", async () => {
      const { outcome } = await run(mirror, { include: ["*.json"] });
      expect(outcome.error).toMatchObject({ code: "FILE_NOT_FOUND", hint: expect.stringContaining("muster push") });
      expect((await run(`${mirror},${hub.url}`, { include: ["*.json"] })).outcome.error).toBeNull();
    });

    it("whose manifest names another model of the same folder is not taken for it", async () => {
      const { outcome } = await sync(input(mirror), [modelSpec("acme-tiny")]);
      expect(outcome.error).toMatchObject({ code: "REPO_NOT_FOUND", message: expect.stringContaining("acme/tiny") });
    });

    it("that holds a damaged object is passed over; alone it is refused by name", async () => {
      const damaged = bytesOf(files[BIG]!);
      damaged[5 * MIB] = damaged[5 * MIB]! ^ 255;
      await s3.put(`damaged/base-models/acme-tiny/${BIG}`, damaged);
      for (const path of [...Object.keys(wanted), "muster-model.json"].filter((each) => each !== BIG))
        await s3.put(`damaged/base-models/acme-tiny/${path}`, await s3.get(`${PUSHED}/${path}`));
      const { outcome } = await run(`s3://${BUCKET}/damaged`);
      expect(outcome.error).toMatchObject({ code: "DIGEST_MISMATCH", message: expect.stringContaining(BIG) });
      const second = await run(`s3://${BUCKET}/damaged,${hub.url}`);
      expect(second.outcome.error).toBeNull();
      expect(differences(second.outcome.stored!.path, wanted)).toEqual([]);
    });

    it("goes on with a new link where one has run out, and after a break in the middle", {
      timeout: 180_000,
    }, async () => {
      s3.faults.push(
        { method: "GET", path: BIG, dropAfter: 3 * MIB, times: 2 },
        { method: "GET", path: "model-00001", status: 403, code: "AccessDenied", times: 1 },
      );
      const { outcome, notes } = await run(mirror);
      expect(outcome.error).toBeNull();
      expect(differences(outcome.stored!.path, wanted)).toEqual([]);
      expect(s3.faults.map(({ times }) => times)).toEqual([0, 0]);
      expect(notes.join("\n")).not.toMatch(/Signature=[0-9a-f]/i);
    });

    it("with its ranges serves what a second mirror began", async () => {
      hub.faults.drop = { path: BIG, afterBytes: 2 * MIB };
      hub.faults.refuse = { host: "cdn", skip: 2 };
      const { outcome, notes } = await run(`${hub.url},${mirror}`);
      expect(outcome.error).toBeNull();
      expect(differences(outcome.stored!.path, wanted)).toEqual([]);
      expect(notes.join("\n")).toContain(`Going on with ${mirror}`);
    });

    it.each([
      ["refuses", { status: 403, code: "AccessDenied" }, "ACCESS_REFUSED", "AWS_ACCESS_KEY_ID"],
      ["has no such bucket", { status: 404, code: "NoSuchBucket" }, "REPO_NOT_FOUND", "bucket"],
      ["limits the rate", { status: 503, code: "SlowDown" }, "RATE_LIMITED", "again"],
      ["fails", { status: 500 }, "SERVER_ERROR", "again"],
      ["is in another region", { status: 301, code: "PermanentRedirect" }, "CONFIG_INVALID", "AWS_REGION"],
      ["answers with nonsense", { status: 418, code: "Teapot" }, "RESPONSE_INVALID", "S3_ENDPOINT"],
      ["never answers", { hang: true }, "STALLED", "S3_ENDPOINT"],
    ])("that %s is told so", async (_what, fault, code, hint) => {
      s3.faults.push(fault);
      const { outcome } = await run(mirror, {}, { retries: 0, stallTimeoutMs: 400 });
      expect(outcome.error).toMatchObject({ code, hint: expect.stringContaining(hint) });
    });

    it("asked without credentials says which to set", async () => {
      vi.stubEnv("AWS_ACCESS_KEY_ID", "");
      onTestFinished(() => void vi.unstubAllEnvs());
      const { outcome } = await run(mirror);
      expect(outcome.error).toMatchObject({
        code: "ACCESS_REFUSED",
        hint: expect.stringContaining("AWS_ACCESS_KEY_ID"),
      });
    });

    it("serves two processes on one volume once", async () => {
      const spec = modelSpec("acme/tiny");
      const children = [startSync(input(mirror), [spec]), startSync(input(mirror), [spec])];
      const outcomes = await Promise.all(children.map(outcomeOf));
      expect(outcomes.map(({ error }) => error)).toEqual([null, null]);
      expect(differences(outcomes[0]!.stored!.path, wanted)).toEqual([]);
      expect(gets(BIG).reduce((sum, { bytesSent }) => sum + bytesSent, 0)).toBe(bytesOf(files[BIG]!).length);
    });

    const python =
      process.env.MUSTER_PYTHON_200 || resolve(import.meta.dirname, "../../../.interop/hub-2.0.0/bin/python");
    if (!existsSync(python)) process.stderr.write(`SKIPPED: huggingface_hub 2.0.0 is not at ${python}\n`);
    it.skipIf(!existsSync(python))("fills a cache that Python loads offline", async () => {
      expect((await run(mirror)).outcome.error).toBeNull();
      const code =
        'from huggingface_hub import snapshot_download; print(snapshot_download("acme/tiny", local_files_only=True))';
      const { stdout } = await promisify(execFile)(python, ["-c", code], {
        env: {
          PATH: process.env.PATH,
          HOME: volume,
          HF_HUB_CACHE: join(volume, "huggingface/hub"),
          HF_HUB_OFFLINE: "1",
        },
      });
      expect(differences(stdout.trim(), wanted)).toEqual([]);
    });
  });

  describe("as a source of its own", () => {
    const location = `s3://${BUCKET}/${PUSHED}`;

    it("gives a pushed model as a folder; a second time, offline, nothing is asked", async () => {
      const { outcome } = await run("", own(location));
      expect(outcome.error).toBeNull();
      const { path, revision } = outcome.stored!;
      expect(path).toBe(join(volume, "base-models", `s3--${BUCKET}--prod--base-models--acme-tiny`, stored.revision));
      expect(revision).toBe(stored.revision);
      expect(differences(path, wanted)).toEqual([]);
      s3.reset();
      expect((await run("", own(location), { offline: true })).outcome.error).toBeNull();
      expect(s3.requests).toEqual([]);
    });

    it("without a manifest goes by the checksums the store keeps", async () => {
      for (const [path, source] of Object.entries(files)) {
        const body = bytesOf(source);
        const noted = path.endsWith(".json")
          ? { Metadata: { sha256: sha256(source) } }
          : { ChecksumAlgorithm: "SHA256" as const };
        await s3.put(`plain/m/${path}`, body, noted);
      }
      const { outcome } = await run("", own(`s3://${BUCKET}/plain/m/`));
      expect(outcome.error).toBeNull();
      expect(differences(outcome.stored!.path, wanted)).toEqual([]);
      await s3.put("plain/m/more.json", "{}");
      volume = temporaryFolder();
      const { outcome: refused } = await run("", own(`s3://${BUCKET}/plain/m`));
      expect(refused.error).toMatchObject({
        code: "DIGEST_MISSING",
        message: expect.stringContaining("more.json"),
        hint: expect.stringContaining("muster push"),
      });
    });

    it.each([
      ["nothing there", `s3://${BUCKET}/nothing/here`, "REPO_NOT_FOUND"],
      ["no bucket", "s3://no-such-bucket/x", "REPO_NOT_FOUND"],
      ["no URL of a bucket", "s3://-/x", "REPO_NOT_FOUND"],
    ])("%s", async (_what, place, code) => {
      expect((await run("", own(place))).outcome.error).toMatchObject({ code });
    });

    it("with a manifest that leads outside is refused", async () => {
      const text = String(await s3.get(`${PUSHED}/muster-model.json`));
      await s3.put("evil/muster-model.json", text.replace('"config.json"', '"../../config.json"'));
      expect((await run("", own(`s3://${BUCKET}/evil`))).outcome.error).toMatchObject({ code: "RESPONSE_INVALID" });
    });

    it("pinned to another revision is refused", async () => {
      const { outcome } = await run("", { ...own(location), revision: "f".repeat(40) });
      expect(outcome.error).toMatchObject({ code: "REVISION_NOT_FOUND" });
    });
  });

  it("signs URLs that show no secret where they are told of", async () => {
    await using client = new HttpClient({ connections: 1, stallTimeoutMs: 1000 });
    vi.stubEnv("AWS_SESSION_TOKEN", "session/token+with=signs");
    onTestFinished(() => void vi.unstubAllEnvs());
    const open = bucketOpener({ endpoint: s3.url, forcePathStyle: true, region: "us-east-1" }, client);
    const url = await (await open(BUCKET)).sign("a b");
    expect(url).toMatch(/\/models\/a%20b\?.*X-Amz-Signature=[0-9a-f]{64}/);
    for (const name of ["Signature", "Credential", "Security-Token"])
      expect(redact(`GET ${url} failed`)).toContain(`X-Amz-${name}=[redacted]`);
    expect(redact(`token session/token+with=signs`)).not.toContain("session");
  });
});
