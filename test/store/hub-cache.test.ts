import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import type { FileSpec } from "../../src/model.ts";
import { hasSize } from "../../src/store/has-size.ts";
import { publishSnapshot, readRef, writeRef } from "../../src/store/hub-cache.ts";
import { createLayout, type HubLayout } from "../../src/store/layout.ts";
import { commitPartial, PartialFile } from "../../src/store/partial-file.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const REPO = "acme/tiny";
const COMMIT = "0123456789abcdef0123456789abcdef01234567";

let hub: HubLayout;
let repo: string;
beforeEach(() => {
  const volume = temporaryFolder();
  hub = createLayout(volume, join(volume, "hub"), join(volume, "ollama")).hub;
  repo = join(volume, "hub", "models--acme--tiny");
});

/** A file whose blob is there. */
function withBlob(path: string, content = path): FileSpec {
  const file: FileSpec = {
    path,
    size: Buffer.byteLength(content),
    digest: { algorithm: "sha256", hex: createHash("sha256").update(content).digest("hex") },
  };
  mkdirSync(join(repo, "blobs"), { recursive: true });
  writeFileSync(hub.blob(REPO, file.digest), content);
  return file;
}

const snapshotted = (path: string) => join(repo, "snapshots", COMMIT, path);
const publish = (...files: FileSpec[]) => publishSnapshot(hub, REPO, COMMIT, files);

describe("the snapshot", () => {
  it("shows each file by a relative link to its blob, at any depth", async () => {
    const files = ["config.json", "1_Pooling/config.json", "a/b/c d/ü#?%41.txt"].map((path) => withBlob(path));
    await publish(...files);
    for (const { path, digest } of files) {
      const up = "../".repeat(path.split("/").length + 1);
      expect(readlinkSync(snapshotted(path))).toBe(`${up}blobs/${digest.hex}`);
      expect(readFileSync(snapshotted(path), "utf8")).toBe(path);
    }
    expect(readdirSync(join(repo, "snapshots"))).toEqual([COMMIT]);
    expect(readFileSync(join(hub.root, "CACHEDIR.TAG"), "utf8")).toMatch(
      /^Signature: 8a477f597d28d172789f06886806bc55\n/,
    );
  });

  it("is not there at all when it cannot be finished", async () => {
    const good = withBlob("config.json");
    // A file and a folder of one name cannot stand side by side.
    await expect(publish(good, { ...good, path: "config.json/deeper" })).rejects.toThrow();
    expect(existsSync(join(repo, "snapshots", COMMIT))).toBe(false);
    expect(readdirSync(join(repo, ".muster"))).toEqual([]);
  });

  it("of another tool gets the files it lacks and keeps those it has", async () => {
    const own = withBlob("config.json");
    const missing = withBlob("deep/model.safetensors");
    const others = withBlob("README.md");
    mkdirSync(dirname(snapshotted("x")), { recursive: true });
    for (const { path, digest } of [own, others]) symlinkSync(`../../blobs/${digest.hex}`, snapshotted(path));
    const before = lstatSync(snapshotted("config.json"));
    await publish(own, missing);
    expect(readFileSync(snapshotted("deep/model.safetensors"), "utf8")).toBe(missing.path);
    expect(readFileSync(snapshotted("README.md"), "utf8")).toBe("README.md");
    expect(lstatSync(snapshotted("config.json")).ino).toBe(before.ino);
    expect(readdirSync(snapshotted(".")).sort()).toEqual(["README.md", "config.json", "deep"]);
  });

  it("gets its links put right where they lead nowhere or elsewhere", async () => {
    const dangling = withBlob("dangling");
    const elsewhere = withBlob("elsewhere", "right");
    const shorter = withBlob("shorter", "whole");
    mkdirSync(dirname(snapshotted("x")), { recursive: true });
    symlinkSync(`../../blobs/${"0".repeat(64)}`, snapshotted("dangling"));
    writeFileSync(join(repo, "other"), "wrong");
    symlinkSync("../../other", snapshotted("elsewhere"));
    writeFileSync(snapshotted("shorter"), "who");
    await publish(dangling, elsewhere, shorter);
    const contents = ["dangling", "elsewhere", "shorter"].map((path) => readFileSync(snapshotted(path), "utf8"));
    expect(contents).toEqual(["dangling", "right", "whole"]);
    expect(readFileSync(join(repo, "other"), "utf8")).toBe("wrong");
  });

  it("keeps a plain file of the right size, as tools leave them on file systems without links", async () => {
    const file = withBlob("config.json");
    mkdirSync(dirname(snapshotted("x")), { recursive: true });
    writeFileSync(snapshotted("config.json"), "config.json");
    await publish(file);
    expect(lstatSync(snapshotted("config.json")).isSymbolicLink()).toBe(false);
  });

  it("can be published by many at once", async () => {
    const files = ["a", "b", "c/d"].map((path) => withBlob(path));
    await Promise.all(Array.from({ length: 8 }, () => publish(...files)));
    expect(files.map(({ path }) => readFileSync(snapshotted(path), "utf8"))).toEqual(["a", "b", "c/d"]);
    expect(readdirSync(join(repo, "snapshots"))).toEqual([COMMIT]);
    expect(readdirSync(join(repo, ".muster"))).toEqual([]);
  });
});

describe("a ref", () => {
  it("holds the commit and nothing else, and leaves no other file beside it", async () => {
    await writeRef(hub, REPO, "main", COMMIT);
    await writeRef(hub, REPO, "refs/pr/1", COMMIT);
    expect(readFileSync(join(repo, "refs", "main"), "utf8")).toBe(COMMIT);
    expect(readFileSync(join(repo, "refs", "refs", "pr", "1"), "utf8")).toBe(COMMIT);
    expect(readdirSync(join(repo, "refs"), { recursive: true }).sort()).toEqual([
      "main",
      "refs",
      "refs/pr",
      "refs/pr/1",
    ]);
    expect(await readRef(hub, REPO, "main")).toBe(COMMIT);
    const later = COMMIT.replaceAll("0", "f");
    await writeRef(hub, REPO, "main", later);
    expect(readFileSync(join(repo, "refs", "main"), "utf8")).toBe(later);
  });

  it("is not written for a commit", async () => {
    await writeRef(hub, REPO, COMMIT, COMMIT);
    expect(existsSync(join(repo, "refs"))).toBe(false);
  });

  it("is read with or without a newline, and not where it is none", async () => {
    mkdirSync(join(repo, "refs"), { recursive: true });
    for (const [text, expected] of [
      [`${COMMIT}\n`, COMMIT],
      [COMMIT, COMMIT],
      ["main", null],
      [COMMIT.slice(1), null],
      ["", null],
    ] as const) {
      writeFileSync(join(repo, "refs", "main"), text);
      expect(await readRef(hub, REPO, "main")).toBe(expected);
    }
    expect(await readRef(hub, REPO, "other")).toBeNull();
  });

  it("with a newline is written anew, because Python compares the bytes", async () => {
    mkdirSync(join(repo, "refs"), { recursive: true });
    writeFileSync(join(repo, "refs", "main"), `${COMMIT}\n`);
    await writeRef(hub, REPO, "main", COMMIT);
    expect(readFileSync(join(repo, "refs", "main"), "utf8")).toBe(COMMIT);
  });
});

describe("a blob", () => {
  it("is there with its size only", async () => {
    const file = withBlob("config.json");
    expect(await hasSize(hub.blob(REPO, file.digest), file.size)).toBe(true);
    expect(await hasSize(hub.blob(REPO, file.digest), file.size + 1)).toBe(false);
    expect(await hasSize(hub.blob(REPO, { algorithm: "sha256", hex: "0".repeat(64) }), file.size)).toBe(false);
  });

  it("that is a link into a shared store is replaced, and the store is not written to", async () => {
    const content = "the right content";
    const file = withBlob("model.safetensors", content);
    const blob = hub.blob(REPO, file.digest);
    const shared = join(hub.root, "blobs", "ab", "abcdef");
    mkdirSync(dirname(shared), { recursive: true });
    writeFileSync(shared, "broken in the store");
    chmodSync(shared, 0o444);
    rmSync(blob);
    symlinkSync("../../blobs/ab/abcdef", blob);
    expect(readFileSync(blob, "utf8")).toBe("broken in the store");

    const partial = PartialFile.open(hub.ingest(REPO), file.digest, file.size);
    partial.write(Buffer.from(content), 0);
    partial.note({ start: 0, end: file.size });
    partial.close();
    await commitPartial(hub.ingest(REPO), file.digest, blob);
    expect(readFileSync(shared, "utf8")).toBe("broken in the store");
    expect(lstatSync(blob).isSymbolicLink()).toBe(false);
    expect(readFileSync(blob, "utf8")).toBe(content);
  });
});
