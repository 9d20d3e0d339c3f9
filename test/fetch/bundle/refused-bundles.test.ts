import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Header } from "tar/header";
import { Pax } from "tar/pax";
import { describe, expect, it } from "vitest";
import { MANIFEST_NAME, parseBundle, showBundle } from "../../../src/fetch/bundle/bundle-manifest.ts";
import { findBundles } from "../../../src/fetch/bundle/find-bundles.ts";
import type { Source } from "../../../src/model.ts";
import { slug } from "../../../src/store/layout.ts";
import { temporaryFolder } from "../../store/temporary-folder.ts";

const sha256 = (content: string) => createHash("sha256").update(content).digest("hex");
const commit = "a".repeat(40);
const file = (path: string, content = path) => ({
  path,
  size: content.length,
  digest: { algorithm: "sha256" as const, hex: sha256(content) },
});
const config = file("config.json");

function model(change: Record<string, unknown> = {}) {
  const plain = {
    source: "huggingface" as Source,
    location: "acme/tiny",
    requestedRevision: "main",
    revision: commit,
    license: null,
    quantization: null,
    storedAt: "2026-11-21T18:00:00Z",
    manifest: null as string | null,
    files: [config],
    ...change,
  };
  const key = `${slug(`${plain.source}--${plain.location}@${plain.requestedRevision}`)}--12345678`;
  return { key, ...plain, ...("key" in change ? { key: String(change.key) } : {}) };
}

function ollama(change: Record<string, unknown> = {}, named = [file("the config"), file("the layer")]) {
  const [about, ...layers] = named.map(({ size, digest: { hex } }) => ({ digest: `sha256:${hex}`, size }));
  const manifest = JSON.stringify({ config: about, layers });
  const files = named.map((each) => ({ ...each, path: `blobs/sha256-${each.digest.hex}` }));
  const revision = sha256(manifest);
  return model({ source: "ollama", location: "chat", revision, manifest, files, ...change });
}

describe("a manifest", () => {
  it("of each source is taken", () => {
    const folder = { revision: "0123abc", requestedRevision: "main" };
    const models = [
      model(),
      ollama(),
      model({ ...folder, source: "s3", location: "s3://models/a b" }),
      model({ ...folder, source: "path", location: "/mnt/../x" }),
      model({ requestedRevision: "refs/pr/1" }),
    ];
    expect(parseBundle(showBundle(models), "a test").models).toHaveLength(models.length);
  });

  it.each<[string, object, RegExp]>([
    ["path traversal", model({ files: [file("../../config.json")] }), /cannot be understood/],
    ["an absolute path", model({ files: [file("/etc/passwd")] }), /cannot be understood/],
    ["a path with a NUL", model({ files: [file("a\0b")] }), /cannot be understood/],
    ["a file twice", model({ files: [config, config] }), /a file comes twice/],
    ["a file that is a folder, too", model({ files: [file("a"), file("a/b")] }), /is a file and a folder/],
    ["no files", model({ files: [] }), /not those of a repository/],
    ["a size below zero", model({ files: [{ ...config, size: -1 }] }), /cannot be understood/],
    ["a size beyond numbers", model({ files: [{ ...config, size: 1e300 }] }), /cannot be understood/],
    [
      "a digest that is a path",
      model({ files: [{ ...config, digest: { algorithm: "sha256", hex: "../x" } }] }),
      /understood/,
    ],
    [
      "a digest of another length",
      model({ files: [{ ...config, digest: { algorithm: "sha256", hex: "ab" } }] }),
      /understood/,
    ],
    ["a content of two sizes", model({ files: [config, { ...config, path: "b", size: 1 }] }), /has two sizes/],
    ["a branch that leads away", model({ requestedRevision: "../../x" }), /the branch leads elsewhere/],
    ["a branch from the root", model({ requestedRevision: "/x" }), /the branch leads elsewhere/],
    ["a revision that leads away", model({ revision: "../../x" }), /is no commit/],
    ["a repository that leads away", model({ location: "../x" }), /none of a repository/],
    ["a repository with more parts", model({ location: "a/b/c" }), /none of a repository/],
    ["another's record", model({ key: "huggingface--acme--other@main--12345678" }), /a name of another/],
    ["a record that leads away", model({ key: "../../x" }), /a name of another/],
    ["a folder that leads away", model({ source: "path", location: "/x", revision: ".." }), /leads elsewhere/],
    ["an Ollama name that leads away", ollama({ location: "../../x" }), /none that Ollama takes/],
    ["no Ollama manifest", ollama({ manifest: null }), /not the one of its revision/],
    ["another Ollama manifest", ollama({ revision: sha256("x") }), /not the one of its revision/],
    ["a layer too few", ollama({ files: ollama().files.slice(1) }), /not those of its manifest/],
    [
      "a layer at another place",
      ollama({ files: ollama().files.map((each) => ({ ...each, path: `${each.path}0` })) }),
      /not those/,
    ],
    ["an unknown source", { ...model(), source: "ftp" }, /cannot be understood/],
  ])("with %s is refused", (_what, wrong, words) => {
    const text = showBundle([wrong as ReturnType<typeof model>]);
    expect(() => parseBundle(text, "a test")).toThrow(
      expect.objectContaining({ code: "BUNDLE_INVALID", message: expect.stringMatching(words) }),
    );
  });

  it("of a newer format, with a model twice, or in which anything was changed is refused", () => {
    const text = showBundle([model()]);
    expect(() => parseBundle(text.replace('"formatVersion": 1', '"formatVersion": 2'), "x")).toThrow(/newer one/);
    expect(() => parseBundle(showBundle([model(), model()]), "x")).toThrow(/a model twice/);
    expect(() => parseBundle(text.replace('"license": null', '"license": "mit"'), "x")).toThrow(/cannot be understood/);
    expect(() => parseBundle("{}", "x")).toThrow(/cannot be understood/);
    expect(() => parseBundle(showBundle([]), "x")).toThrow(/cannot be understood/);
  });
});

interface Part {
  name: string;
  content?: string;
  type?: "File" | "SymbolicLink" | "Link" | "CharacterDevice" | "Directory" | "NextFileHasLongPath";
  /** What the header says, in place of the truth. */
  size?: number;
  linkpath?: string;
  pax?: { size?: number; path?: string };
}

function tarOf(parts: Part[], { end = true } = {}): Buffer {
  const blocks = parts.flatMap(({ name, content = "", type = "File", size = content.length, linkpath, pax }) => {
    const block = Buffer.alloc(512);
    new Header({ path: name, size, type, linkpath, mode: 0o644, mtime: new Date(0) }).encode(block);
    const padding = Buffer.alloc((512 - (content.length % 512)) % 512);
    return [...(pax ? [new Pax(pax).encode()] : []), block, Buffer.from(content), padding];
  });
  return Buffer.concat([...blocks, ...(end ? [Buffer.alloc(1024)] : [])]);
}

const about: Part = { name: MANIFEST_NAME, content: showBundle([model()]) };
const blob: Part = { name: `blobs/sha256-${config.digest.hex}`, content: config.path };

async function openAll(tar: Buffer, streamed: boolean): Promise<number> {
  const path = join(temporaryFolder(), "bundle.tar");
  writeFileSync(path, tar);
  async function* input() {
    yield tar;
  }
  const [found] = await findBundles([streamed ? "-" : path], input());
  await using bundle = await found!.open();
  await bundle.finish();
  return bundle.models.length;
}

describe.each([
  ["a file", false],
  ["a stream", true],
])("a tar, as %s,", (_how, streamed) => {
  it("with the manifest and what it lists is taken, also with the folder of it", async () => {
    expect(await openAll(tarOf([about, blob]), streamed)).toBe(1);
    expect(
      await openAll(
        tarOf([{ name: "./", type: "Directory" }, about, { name: "blobs/", type: "Directory" }, blob]),
        streamed,
      ),
    ).toBe(1);
  });

  it.each<[string, Part[], RegExp]>([
    ["nothing", [], /begins with muster-bundle/],
    ["no manifest first", [blob, about], /begins with muster-bundle/],
    ["a foreign name", [about, blob, { name: "../../etc/cron.d/x", content: "x" }], /none of what its/],
    ["an absolute name", [about, blob, { name: "/etc/passwd", content: "x" }], /none of what its/],
    [
      "a symbolic link",
      [about, { name: blob.name, type: "SymbolicLink", linkpath: "/etc/passwd" }],
      /is no file but a SymbolicLink/,
    ],
    ["a hard link", [about, { name: blob.name, type: "Link", linkpath: "/etc/passwd" }], /is no file but a Link/],
    ["a device", [about, { name: blob.name, type: "CharacterDevice" }], /is no file but a CharacterDevice/],
    ["another folder", [about, blob, { name: "x/", type: "Directory" }], /is no file but a Directory/],
    [
      "a long name of GNU's",
      [about, { name: "x", type: "NextFileHasLongPath", content: "y" }, blob],
      /no file but a NextFile/,
    ],
    ["a content twice", [about, blob, blob], /comes twice/],
    ["the manifest twice", [about, blob, about], /comes twice/],
    ["a content too few", [about], /lacks 1 of its contents/],
    ["a content of another size", [about, { ...blob, content: "x" }], /none of what its/],
    ["a size beyond the file", [about, { ...blob, size: 8 ** 11 - 1 }], /ends before all|none of what its/],
    ["a size in pax beyond all", [about, { ...blob, pax: { size: 1e300 } }], /true size|damaged|none of what its/],
    ["a name in pax that leads away", [about, { ...blob, pax: { path: "../../x" } }], /none of what its/],
  ])("with %s is refused", async (_what, parts, words) => {
    const opening = openAll(tarOf(parts), streamed);
    await expect(opening).rejects.toMatchObject({ code: "BUNDLE_INVALID", message: expect.stringMatching(words) });
  });

  it("with headers that are far too large, without an end, or of another kind is refused", async () => {
    const pax = Buffer.alloc(512);
    new Header({ path: "PaxHeader/x", size: 2 ** 32, type: "ExtendedHeader", mode: 0, mtime: new Date(0) }).encode(pax);
    const first = tarOf([about], { end: false });
    await expect(openAll(Buffer.concat([first, pax]), streamed)).rejects.toThrow(/far too large|ends before/);
    await expect(openAll(tarOf([about, blob], { end: false }), streamed)).rejects.toThrow(/ends before all of it/);
    const large = Buffer.alloc(512);
    new Header({ path: MANIFEST_NAME, size: 2 ** 40, type: "File", mode: 0, mtime: new Date(0) }).encode(large);
    await expect(openAll(large, streamed)).rejects.toThrow(/far too large|ends before/);
    await expect(openAll(Buffer.from("1f8b0800".padEnd(2048, "0"), "hex"), streamed)).rejects.toThrow(/gzip -dc FILE/);
    await expect(openAll(Buffer.from("x".repeat(1024)), streamed)).rejects.toThrow(/is no tar file/);
    await expect(openAll(Buffer.alloc(0), streamed)).rejects.toThrow(/is empty/);
    const packed = Buffer.concat([Buffer.from("28b52ffd", "hex"), Buffer.from("x".repeat(1024))]);
    await expect(openAll(packed, streamed)).rejects.toThrow(/is damaged, or was cut short/);
  });
});

describe("a folder", () => {
  it("with a link in the place of a content, or without one, is refused", async () => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, "blobs"));
    writeFileSync(join(folder, MANIFEST_NAME), about.content!);
    await expect(findBundles([folder], process.stdin)).rejects.toThrow(/ends before all of it/);
    symlinkSync("/etc/passwd", join(folder, blob.name));
    await expect(findBundles([folder], process.stdin)).rejects.toThrow(/is no file/);
    await expect(findBundles([temporaryFolder()], process.stdin)).rejects.toThrow(/no bundle is in it/);
  });

  it("of bundles has each once, in whatever parts it is", async () => {
    const folder = temporaryFolder();
    for (const name of ["a.tar", "b.tar.000", "b.tar.001", "c.tar.zst", "notes.txt"])
      writeFileSync(join(folder, name), "x");
    const found = await findBundles([folder, join(folder, "b.tar.001"), join(folder, "a.tar")], process.stdin);
    expect(found.map(({ name }) => name)).toEqual(["a.tar", "b.tar", "c.tar.zst"].map((name) => join(folder, name)));
    expect(readdirSync(folder)).toHaveLength(5);
  });
});
