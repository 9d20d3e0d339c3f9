import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, type ExpectStatic, expect, it } from "vitest";
import { type Env, type Exit, type Place, place, runMuster, startMuster } from "../e2e/muster.ts";
import { type FileSource, type Hub, startHub } from "../fakes/hub/hub.ts";
import { BUCKET, type S3, S3_KEYS, S3_MISSING, startS3 } from "../fakes/s3.ts";
import { causalLmRepo, ggufRepo, seededBytes } from "../fakes/tiny-models.ts";
import { bytesOf, differences, filesBelow } from "../fetch/volume.ts";
import { until } from "../until.ts";

const MIB = 1 << 20;
const BIG = "model-00003-of-00003.safetensors";
const files: Record<string, FileSource> = {
  ...causalLmRepo("acme/tiny", { shards: 2, sizeBytes: 2 * MIB }),
  [BIG]: seededBytes(20 * MIB + 77, 3),
  "sub folder/ü#1.json": "{}",
  "empty.txt": "",
};
const wanted = Object.fromEntries(Object.entries(files).filter(([path]) => path !== ".gitattributes"));
const MANIFEST = "muster-model.json";
const total = Object.values(wanted).reduce((sum, source) => sum + bytesOf(source).length, 0);
const sha256 = (content: Buffer) => createHash("sha256").update(content).digest("hex");

let hub: Hub;
let full: Place;
let env: Env;
beforeAll(async () => {
  hub = await startHub({
    repos: [
      { id: "acme/tiny", files },
      { id: "acme/gguf", files: ggufRepo("acme/gguf") },
    ],
  });
  full = place({ ENABLE_GPU: "false" });
  const variant = (repo: string, more: object) => ({ source: "huggingface", repo, ...more });
  const catalog = {
    models: {
      tiny: { task: "chat", variants: [variant("acme/tiny", { engine: "vllm" })] },
      gguf: { task: "chat", variants: [variant("acme/gguf", { engine: "ollama", format: "gguf" })] },
      copied: {
        task: "chat",
        variants: [{ source: "path", path: join(full.folder, "usb/base-models/acme-tiny"), engine: "vllm" }],
      },
    },
    workerTypes: { small: { gpu: "none", models: ["tiny"] } },
  };
  const file = join(full.folder, "catalog.json");
  writeFileSync(file, JSON.stringify(catalog));
  env = { ...full.env, WORKER_TYPES_FILE: file, HF_ENDPOINT: hub.url, ...S3_KEYS };
  expect((await runMuster(["sync", "tiny"], env)).code).toBe(0);
});
afterAll(async () => {
  full[Symbol.dispose]();
  await hub.close();
});

interface Report {
  model: string;
  target: string;
  files: number;
  missingFiles: number;
  missingBytes: number;
}

function report({ code, stdout, stderr }: Exit, expect: ExpectStatic): Report {
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.any(String) });
  return JSON.parse(stdout) as Report;
}

const snapshot = () => {
  const snapshots = join(full.volume, "huggingface/hub/models--acme--tiny/snapshots");
  return join(snapshots, readdirSync(snapshots)[0]!);
};

/** Holds for both kinds of places. */
async function refusals(destination: string, expect: ExpectStatic) {
  const unknown = await runMuster(["push", "no-such-model", destination], env);
  expect(unknown.code).toBe(64);
  expect(unknown.stderr).toMatch(/^error MODEL_UNKNOWN: .+\nhint .+acme\/tiny/);
  const incomplete = await runMuster(["push", "gguf", destination], env);
  expect(incomplete.code).toBe(1);
  expect(incomplete.stderr).toMatch(/^error MODEL_INCOMPLETE: .+\nhint .+muster sync gguf/);
}

describe("to a folder", () => {
  let usb: string;
  beforeEach(() => {
    usb = join(full.folder, "usb");
    rmSync(usb, { recursive: true, force: true });
  });

  it("goes the whole model, by either name; a second time nothing", async () => {
    const first = report(await runMuster(["push", "tiny", usb, "--json"], env), expect);
    expect(first).toMatchObject({
      model: "acme/tiny",
      target: join(usb, "base-models/acme-tiny"),
      missingBytes: total,
    });
    const { [MANIFEST]: _, ...rest } = Object.fromEntries(filesBelow(first.target).map((path) => [path, true]));
    expect(Object.keys(rest)).toEqual(Object.keys(wanted).toSorted());
    expect(differences(first.target, { ...wanted, [MANIFEST]: { path: join(first.target, MANIFEST) } })).toEqual([]);
    const manifest = JSON.parse(readFileSync(join(first.target, MANIFEST), "utf8")) as {
      files: { path: string; sha256: string }[];
    };
    for (const { path, sha256: said } of manifest.files) expect(said).toBe(sha256(bytesOf(wanted[path]!)));
    const before = statSync(join(first.target, MANIFEST)).mtimeMs;
    const second = report(await runMuster(["push", "acme/tiny", `file://${usb}`, "--json"], env), expect);
    expect(second).toMatchObject({ missingFiles: 0, missingBytes: 0 });
    expect(statSync(join(first.target, MANIFEST)).mtimeMs).toBe(before);
  });

  it("which others then fetch from: as a mirror of the hub, and as a folder of its own", async () => {
    await runMuster(["push", "tiny", usb], env);
    using here = place({ WORKER_TYPES_FILE: env.WORKER_TYPES_FILE, HF_ENDPOINT: usb });
    hub.reset();
    const { code, stdout } = await runMuster(["sync", "tiny", "copied", "--json"], here.env);
    expect(code).toBe(0);
    const { models } = JSON.parse(stdout) as { models: { path: string; revision: string }[] };
    for (const { path } of models) expect(differences(path, wanted)).toEqual([]);
    expect(models[0]!.revision).toBe(models[1]!.revision);
    expect(hub.requests).toEqual([]);
    // The plan knows what a folder holds without reading the weights.
    using other = place({ WORKER_TYPES_FILE: env.WORKER_TYPES_FILE });
    rmSync(join(usb, "base-models/acme-tiny", MANIFEST));
    const plan = await runMuster(["plan", "copied", "--json"], other.env);
    expect(JSON.parse(plan.stdout)).toMatchObject({ models: [{ state: "missing", bytesMissing: total }] });
  });

  it("--dry-run says what would go, and leaves no trace", async () => {
    const { code, stdout } = await runMuster(["push", "tiny", usb, "--dry-run"], env);
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^acme\/tiny \(.+, \d+ files\): .+ in \d+ files would be sent to .+\/usb\/base-models\/acme-tiny\n$/,
    );
    expect(() => statSync(usb)).toThrow("ENOENT");
  });

  it("mends what was changed there, and sends nothing else", async () => {
    const { target } = report(await runMuster(["push", "tiny", usb, "--json"], env), expect);
    writeFileSync(join(target, "config.json"), Buffer.alloc(statSync(join(target, "config.json")).size));
    const again = report(await runMuster(["push", "tiny", usb, "--json"], env), expect);
    expect(again.missingFiles).toBe(1);
    expect(readFileSync(join(target, "config.json")).equals(bytesOf(wanted["config.json"]!))).toBe(true);
  });

  it("a damaged file of the volume stops it, and is named; no manifest says that it is whole", async () => {
    using here = place({ WORKER_TYPES_FILE: env.WORKER_TYPES_FILE, HF_ENDPOINT: hub.url });
    expect((await runMuster(["sync", "tiny"], here.env)).code).toBe(0);
    const blobs = join(here.volume, "huggingface/hub/models--acme--tiny/blobs");
    const large = readdirSync(blobs).find((name) => statSync(join(blobs, name)).size > 10 * MIB)!;
    writeFileSync(join(blobs, large), Buffer.alloc(statSync(join(blobs, large)).size, 1));
    const { code, stderr } = await runMuster(["push", "tiny", usb], here.env);
    expect(code).toBe(75);
    expect(stderr).toMatch(new RegExp(`^error DIGEST_MISMATCH: .+${BIG} is damaged`));
    expect(stderr).toContain("muster sync");
    expect(
      filesBelow(usb).filter((path) => path.includes(MANIFEST) || path.includes(BIG) || path.includes(".muster-push/")),
    ).toEqual([]);
  });

  it("another model of the same folder name is not overwritten", async () => {
    const { target } = report(await runMuster(["push", "tiny", usb, "--json"], env), expect);
    const text = readFileSync(join(target, MANIFEST), "utf8");
    writeFileSync(join(target, MANIFEST), text.replace('"acme/tiny"', '"acme-tiny"'));
    const { code, stderr } = await runMuster(["push", "tiny", usb], env);
    expect(code).toBe(64);
    expect(stderr).toMatch(/^error USAGE: .+ holds acme-tiny already, not acme\/tiny/);
  });

  it("another revision takes the place of the one before, files and all", async () => {
    const { target } = report(await runMuster(["push", "tiny", usb, "--json"], env), expect);
    const text = readFileSync(join(target, MANIFEST), "utf8");
    const older = text
      .replace(/"revision": "\w+"/, `"revision": "${"0".repeat(40)}"`)
      .replace('"path": "config.json"', '"path": "old.json"');
    writeFileSync(join(target, MANIFEST), older);
    writeFileSync(join(target, "old.json"), "{}");
    writeFileSync(join(target, "of somebody else"), "");
    await runMuster(["push", "tiny", usb], env);
    expect(readFileSync(join(target, MANIFEST), "utf8")).toBe(text);
    expect(filesBelow(target)).not.toContain("old.json");
    expect(filesBelow(target)).toContain("of somebody else");
  });

  it("what is no place is refused", async () => {
    for (const destination of ["https://hub.example", "usb", "s3://", "ftp://x"]) {
      const { code, stderr } = await runMuster(["push", "tiny", destination], env);
      expect(code).toBe(64);
      expect(stderr).toMatch(/^error USAGE: .+\nhint .+s3:\/\/bucket\/prefix/);
    }
    await refusals(usb, expect);
    mkdirSync(dirname(usb), { recursive: true });
    writeFileSync(usb, "a file");
    expect((await runMuster(["push", "tiny", usb], env)).code).not.toBe(0);
  });
});

describe.skipIf(S3_MISSING)("to an object store", () => {
  let s3: S3;
  let prefix = 0;
  let destination: string;
  let folder: string;
  beforeAll(async () => {
    s3 = await startS3();
    return () => s3[Symbol.asyncDispose]();
  });
  beforeEach(() => {
    s3.reset();
    prefix += 1;
    destination = `s3://${BUCKET}/p${prefix}`;
    folder = `p${prefix}/base-models/acme-tiny`;
  });
  const push = (...more: string[]) =>
    runMuster(["push", "tiny", destination, ...more], { ...env, S3_ENDPOINT: s3.url });
  const writes = () => s3.requests.filter(({ method }) => method !== "GET" && method !== "HEAD");
  const sent = (path: string) =>
    s3.requests
      .filter((each) => each.method === "PUT" && each.path.endsWith(path))
      .reduce((sum, each) => sum + each.bytesReceived, 0);

  it("goes in parts, with digests, the manifest last; a second time nothing", async () => {
    const first = report(await push("--json"), expect);
    expect(first).toMatchObject({ target: `s3://${BUCKET}/${folder}`, missingBytes: total });
    expect((await s3.keys(folder)).toSorted()).toEqual(
      [...Object.keys(wanted), MANIFEST].map((path) => `${folder}/${path}`).toSorted(),
    );
    for (const [path, source] of Object.entries(wanted)) {
      expect((await s3.get(`${folder}/${path}`)).equals(bytesOf(source))).toBe(true);
      expect(await s3.metadata(`${folder}/${path}`)).toMatchObject({ sha256: sha256(bytesOf(source)) });
    }
    expect(writes().at(-1)!.path).toContain(MANIFEST);
    expect(writes().filter(({ method, path }) => method === "PUT" && path.endsWith(BIG)).length).toBe(3);
    expect(await s3.uploads(`p${prefix}`)).toEqual([]);
    s3.reset();
    expect(report(await push("--json"), expect).missingFiles).toBe(0);
    expect(writes()).toEqual([]);
    expect((await push()).stdout).toMatch(
      /^acme\/tiny \(.+\) is complete at s3:\/\/models\/p\d+\/base-models\/acme-tiny\n$/,
    );
  });

  it("from where others fetch it: pushed and pulled it is the same, byte for byte", async () => {
    expect((await push()).code).toBe(0);
    using here = place({
      ...S3_KEYS,
      WORKER_TYPES_FILE: env.WORKER_TYPES_FILE,
      HF_ENDPOINT: destination,
      S3_ENDPOINT: s3.url,
    });
    const { stdout } = await runMuster(["sync", "tiny", "--json"], here.env);
    const { models } = JSON.parse(stdout) as { models: { path: string }[] };
    expect(filesBelow(models[0]!.path)).toEqual(filesBelow(snapshot()));
    for (const path of filesBelow(snapshot()))
      expect(readFileSync(join(models[0]!.path, path)).equals(readFileSync(join(snapshot(), path)))).toBe(true);
    const doctor = JSON.parse((await runMuster(["doctor", "--json"], here.env)).stdout) as {
      checks: { name: string; result: string }[];
    };
    expect(doctor.checks).toContainEqual(expect.objectContaining({ name: "mirror", result: "ok" }));
  });

  it("--dry-run sends nothing", async () => {
    expect(report(await push("--json", "--dry-run"), expect)).toMatchObject({ missingBytes: total, dryRun: true });
    expect(writes()).toEqual([]);
  });

  it("killed, it leaves no manifest, and the next one sends only what is missing", async () => {
    let parts = 0;
    s3.onRequest = async ({ method, path, query }) => {
      if (method === "PUT" && path.endsWith(BIG) && query.has("partNumber")) parts += 1;
      // The small ones arrive, the large one does not.
      if (parts > 1 && path.endsWith(BIG)) await new Promise(() => undefined);
    };
    const child = startMuster(["push", "tiny", destination], { ...env, S3_ENDPOINT: s3.url });
    await until(
      "all but the large file are there",
      async () => (await s3.keys(folder)).length === Object.keys(wanted).length - 1,
      45_000,
    );
    child.kill("SIGKILL");
    await child.exited;
    expect(await s3.keys(`${folder}/${MANIFEST}`)).toEqual([]);
    s3.reset();
    const again = report(await push("--json"), expect);
    expect(again.missingFiles).toBe(1);
    expect(again.missingBytes).toBe(bytesOf(files[BIG]!).length);
    expect((await s3.get(`${folder}/${BIG}`)).equals(bytesOf(files[BIG]!))).toBe(true);
    expect(await s3.keys(`${folder}/${MANIFEST}`)).toHaveLength(1);
  });

  const PART = 8 * MIB;
  const bigBytes = bytesOf(files[BIG]!).length;
  /** Ends a push when the store has so many parts of the large file. */
  async function pushUntil(parts: number, signal: "SIGKILL" | "SIGINT") {
    const there = () =>
      s3.requests.filter(({ query, path, status }) => query.has("partNumber") && path.endsWith(BIG) && status === 200);
    s3.onRequest = async ({ query, path }) => {
      if (path.endsWith(BIG) && Number(query.get("partNumber")) > parts) await new Promise(() => undefined);
    };
    await using child = startMuster(["push", "tiny", destination], { ...env, S3_ENDPOINT: s3.url });
    await until(`${parts} parts are there`, () => there().length === parts, 45_000);
    child.kill(signal);
    const exit = await child.exited;
    expect(await s3.keys(`${folder}/${MANIFEST}`)).toEqual([]);
    expect(await s3.uploads(`p${prefix}`)).toEqual([`${folder}/${BIG}`]);
    s3.reset();
    return exit;
  }
  async function expectWhole() {
    expect((await s3.get(`${folder}/${BIG}`)).equals(bytesOf(files[BIG]!))).toBe(true);
    expect(await s3.metadata(`${folder}/${BIG}`)).toMatchObject({ sha256: sha256(bytesOf(files[BIG]!)) });
    expect(await s3.keys(`${folder}/${MANIFEST}`)).toHaveLength(1);
    expect(await s3.uploads(`p${prefix}`)).toEqual([]);
  }
  const notes = () => join(full.folder, "state", "uploads");

  it.each(["SIGKILL", "SIGINT"] as const)(
    "ended by %s in the middle of a file, the next one sends the other parts",
    async (signal) => {
      const { code, stderr } = await pushUntil(2, signal);
      if (signal === "SIGINT") expect([code, stderr]).toEqual([75, expect.stringMatching(/^error CANCELLED: /)]);
      // As a process leaves it that is killed while it writes the note.
      writeFileSync(join(notes(), `${readdirSync(notes())[0]!}.${crypto.randomUUID()}.tmp`), "");
      report(await push("--json"), expect);
      expect(sent(BIG)).toBe(bigBytes - 2 * PART);
      await expectWhole();
      expect(readdirSync(notes())).toEqual([]);
    },
  );

  it("a part that is not what it should be is sent again", async () => {
    await pushUntil(2, "SIGKILL");
    await s3.replacePart(`${folder}/${BIG}`, 1, Buffer.alloc(PART, 1));
    await s3.replacePart(`${folder}/${BIG}`, 2, Buffer.alloc(7));
    expect((await push()).code).toBe(0);
    expect(sent(BIG)).toBe(bigBytes);
    await expectWhole();
  });

  it("an upload of other content is taken back, and one that is gone is begun anew", async () => {
    await pushUntil(1, "SIGKILL");
    const note = join(notes(), readdirSync(notes())[0]!);
    const text = readFileSync(note, "utf8");
    writeFileSync(note, text.replace(sha256(bytesOf(files[BIG]!)), "0".repeat(64)));
    await pushUntil(1, "SIGKILL");
    writeFileSync(note, text);
    expect((await push()).code).toBe(0);
    expect(sent(BIG)).toBe(bigBytes);
    expect((await s3.get(`${folder}/${BIG}`)).equals(bytesOf(files[BIG]!))).toBe(true);
  });

  it("another push that is at it is left alone", async () => {
    const held = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    s3.onRequest = ({ query, path }) => {
      if (!path.endsWith(BIG) || query.get("partNumber") !== "3") return;
      asked.resolve();
      return held.promise;
    };
    await using first = startMuster(["push", "tiny", destination], { ...env, S3_ENDPOINT: s3.url });
    await asked.promise;
    s3.onRequest = undefined;
    expect((await push()).code).toBe(0);
    held.resolve();
    expect((await first.exited).code).toBe(0);
    await expectWhole();
    expect(readdirSync(notes())).toEqual([]);
  });

  it("a store that fails now and then gets all of it; one that refuses is told of, with nothing left behind", async () => {
    s3.faults.push(
      { method: "PUT", path: BIG, status: 503, code: "SlowDown", times: 2 },
      { method: "PUT", path: "config.json", status: 500, times: 2 },
      { method: "POST", path: BIG, status: 500, times: 1 },
    );
    expect((await push()).code).toBe(0);
    expect(sent(MANIFEST)).toBeGreaterThan(0);
    s3.reset();
    destination = `${destination}-refused`;
    s3.faults.push({ method: "PUT", path: BIG, status: 403, code: "AccessDenied" });
    const { code, stderr } = await push();
    expect(code).toBe(78);
    expect(stderr).toMatch(/^error ACCESS_REFUSED: .+AWS_ACCESS_KEY_ID/s);
    expect(stderr).not.toContain(S3_KEYS.AWS_SECRET_ACCESS_KEY);
    expect(await s3.uploads(`p${prefix}`)).toEqual([]);
    expect((await s3.keys(`${folder}-refused`)).filter((key) => key.includes(MANIFEST))).toEqual([]);
  });

  it("a corrupted file of the volume is refused by name, and the store never shows it", async () => {
    using here = place({
      ...S3_KEYS,
      WORKER_TYPES_FILE: env.WORKER_TYPES_FILE,
      HF_ENDPOINT: hub.url,
      S3_ENDPOINT: s3.url,
    });
    expect((await runMuster(["sync", "tiny"], here.env)).code).toBe(0);
    const blobs = join(here.volume, "huggingface/hub/models--acme--tiny/blobs");
    const large = readdirSync(blobs).find((name) => statSync(join(blobs, name)).size > 10 * MIB)!;
    writeFileSync(join(blobs, large), Buffer.alloc(statSync(join(blobs, large)).size, 1));
    const { code, stderr } = await runMuster(["push", "tiny", destination], here.env);
    expect(code).toBe(75);
    expect(stderr).toMatch(new RegExp(`^error DIGEST_MISMATCH: .+${BIG} is damaged`));
    expect((await s3.keys(folder)).filter((key) => key.endsWith(BIG) || key.endsWith(MANIFEST))).toEqual([]);
    expect(await s3.uploads(`p${prefix}`)).toEqual([]);
  });

  it("says what is unknown or not complete", async () => {
    await refusals(destination, expect);
  });
});
