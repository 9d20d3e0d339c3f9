import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { downloadFile, listFiles, modelInfo } from "@huggingface/hub";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Hub, startHub } from "./hub/hub.ts";

const weights = randomBytes(300_000);
const sha256 = (bytes: Uint8Array | ArrayBuffer) => createHash("sha256").update(new Uint8Array(bytes)).digest("hex");
const files = {
  "config.json": '{"a":1}',
  "empty.txt": "",
  "sub dir/ü#%41.txt": "odd",
  "model.safetensors": weights,
  "onnx/model.onnx": "dummy",
};

interface TokenAnswer {
  accessToken: string;
}

let hub: Hub;
let commit: string;

beforeAll(async () => {
  hub = await startHub({
    tokens: { hf_valid: { name: "bob", gatedAccess: ["acme/secret"] }, hf_other: { name: "eve" } },
    repos: [
      { id: "gpt2", files },
      { id: "acme/secret", files, gated: "manual" },
      { id: "bob/own", files, private: true },
      { id: "acme/off", files, disabled: true },
    ],
  });
  const revisions = { "refs/pr/1": { files: { "x.txt": "pr" } }, "v1.0": { kind: "tag" as const } };
  commit = hub.addRepo({ id: "acme/tiny", files, license: "mit", revisions }).commit;
});
beforeEach(() => hub.reset());
afterAll(() => hub.close());

const get = (path: string, init: RequestInit = {}) => fetch(`${hub.url}${path}`, { redirect: "manual", ...init });
const as = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
const range = (value: string) => ({ headers: { range: value } });
const signedUrl = async (path: string) => (await get(path)).headers.get("location")!;

describe("model API", () => {
  it("tells the commit of every form of a revision", async () => {
    for (const revision of ["main", "HEAD", "v1.0", commit, commit.slice(0, 7)]) {
      const answer = await get(`/api/models/acme/tiny/revision/${revision}`);
      expect(await answer.json()).toMatchObject({ id: "acme/tiny", sha: commit, gated: false });
    }
    const encoded = await (await get("/api/models/acme/tiny/revision/refs%2Fpr%2F1")).json();
    const plain = await (await get("/api/models/acme/tiny/revision/refs/pr/1")).json();
    expect(encoded).toEqual(plain);
    expect(await (await get("/api/models/gpt2")).json()).toMatchObject({ id: "gpt2" });
  });

  it("answers only what expand asks for", async () => {
    const info = await (await get("/api/models/acme/tiny?expand=sha&expand=gated")).json();
    expect(Object.keys(info as object).sort()).toEqual(["_id", "gated", "id", "sha"]);
  });

  it("lists the tree in pages, with absolute links", async () => {
    hub.faults.pageSize = 3;
    const paths: string[] = [];
    let url: string | undefined = `${hub.url}/api/models/acme/tiny/tree/main?recursive=true`;
    for (let pages = 0; url && pages < 9; pages++) {
      const answer: Response = await fetch(url);
      for (const entry of (await answer.json()) as { path: string }[]) paths.push(entry.path);
      url = /^<(http:[^>]+)>; rel="next"$/.exec(answer.headers.get("link") ?? "")?.[1];
    }
    expect(paths.sort()).toEqual([...Object.keys(files), "onnx", "sub dir"].sort());
    expect(hub.requests).toHaveLength(3);
  });

  it("gives LFS entries their sha256 and others their git sha1", async () => {
    const body = JSON.stringify({ paths: ["config.json", "model.safetensors", "nope"], expand: true });
    const headers = { "content-type": "application/json" };
    const json = await get("/api/models/acme/tiny/paths-info/main", { method: "POST", body, headers });
    const form = new URLSearchParams("paths=config.json&paths=model.safetensors&paths=nope&expand=True");
    const same = await get("/api/models/acme/tiny/paths-info/main", { method: "POST", body: form });
    const entries = (await json.json()) as object[];
    expect(await same.json()).toEqual(entries);
    expect(entries).toMatchObject([
      { oid: createHash("sha1").update('blob 7\0{"a":1}').digest("hex"), size: 7, lastCommit: { id: commit } },
      { size: weights.length, lfs: { oid: sha256(weights), size: weights.length } },
    ]);
  });

  it("serves @huggingface/hub", async () => {
    expect(await modelInfo({ name: "acme/tiny", hubUrl: hub.url, additionalFields: ["sha"] })).toMatchObject({
      sha: commit,
    });
    hub.faults.pageSize = 2;
    const listed = await Array.fromAsync(
      listFiles({ repo: "acme/tiny", hubUrl: hub.url, recursive: true, revision: commit }),
    );
    expect(listed.filter(({ type }) => type === "file")).toHaveLength(5);
    const pull = await Array.fromAsync(listFiles({ repo: "acme/tiny", hubUrl: hub.url, revision: "refs/pr/1" }));
    expect(pull.map(({ path }) => path)).toEqual(["x.txt"]);
  });

  it("knows refs and tokens", async () => {
    expect(await (await get("/api/models/acme/tiny/refs")).json()).toMatchObject({
      branches: [{ name: "main", ref: "refs/heads/main", targetCommit: commit }],
      tags: [{ name: "v1.0", ref: "refs/tags/v1.0", targetCommit: commit }],
    });
    expect(await (await get("/api/whoami-v2", as("hf_valid"))).json()).toMatchObject({ type: "user", name: "bob" });
    expect((await get("/api/whoami-v2")).status).toBe(401);
  });

  it("keeps old commits after an update", async () => {
    const first = hub.addRepo({ id: "acme/moves", files: { "a.txt": "1", "b.txt": "b" } });
    const second = hub.updateRepo("acme/moves", { "a.txt": "2", "b.txt": null });
    expect(second.commit).not.toBe(first.commit);
    expect(await (await get("/acme/moves/resolve/main/a.txt")).text()).toBe("2");
    expect(await (await get(`/acme/moves/resolve/${first.commit}/a.txt`)).text()).toBe("1");
    expect((await get("/acme/moves/resolve/main/b.txt")).status).toBe(404);
  });
});

describe("files", () => {
  it("serves small files itself, under their git sha1", async () => {
    const answer = await get("/acme/tiny/resolve/main/sub%20dir/%C3%BC%23%2541.txt");
    expect(answer.headers.get("x-repo-commit")).toBe(commit);
    expect(answer.headers.get("etag")).toMatch(/^"[0-9a-f]{40}"$/);
    expect(await answer.text()).toBe("odd");
    expect(hub.bytesServed({ repo: "acme/tiny", file: "sub dir/ü#%41.txt", host: "hub" })).toBe(3);
  });

  it("redirects LFS files to the CDN, which answers ranges", async () => {
    const head = await get("/acme/tiny/resolve/main/model.safetensors", { method: "HEAD" });
    expect(head.status).toBe(302);
    expect(head.headers.get("x-linked-etag")).toBe(`"${sha256(weights)}"`);
    expect(head.headers.get("x-linked-size")).toBe("300000");
    const url = head.headers.get("location")!;
    expect(url.startsWith(hub.cdnUrl)).toBe(true);
    expect(await (await fetch(url)).bytes()).toEqual(new Uint8Array(weights));

    const part = await fetch(url, range("bytes=10-19"));
    expect([part.status, part.headers.get("content-range")]).toEqual([206, "bytes 10-19/300000"]);
    expect(Buffer.from(await part.bytes())).toEqual(weights.subarray(10, 20));
    const rest = await fetch(url, range("bytes=299990-"));
    expect(Buffer.from(await rest.bytes())).toEqual(weights.subarray(299_990));
    const beyond = await fetch(url, range("bytes=300000-"));
    expect([beyond.status, beyond.headers.get("content-range")]).toEqual([416, "bytes */300000"]);
    expect((await fetch(url, { headers: { "if-match": '"other"' } })).status).toBe(412);
    expect((await fetch(url, { headers: { range: "bytes=0-0", "if-range": '"other"' } })).status).toBe(200);
    expect(await (await get("/acme/tiny/raw/main/model.safetensors")).text()).toContain(`sha256:${sha256(weights)}`);
  });

  it("refuses tokens and wrong signatures on the CDN", async () => {
    const url = await signedUrl("/acme/tiny/resolve/main/model.safetensors");
    expect((await fetch(url, as("hf_valid"))).status).toBe(400);
    expect((await fetch(url.replace(/.$/, (last) => (last === "0" ? "1" : "0")))).status).toBe(403);
    expect(
      hub.requests.filter(({ host }) => host === "cdn").map(({ authorization, token }) => [authorization, token]),
    ).toEqual([
      [true, "hf_valid"],
      [false, undefined],
    ]);
  });

  it("serves @huggingface/hub through Xet, where a repository is there, whole and in ranges", async () => {
    const big = randomBytes(3_000_001);
    hub.addRepo({ id: "acme/xet", files: { "big.bin": big, "config.json": "{}" }, xet: true });
    const found = await downloadFile({ repo: "acme/xet", path: "big.bin", hubUrl: hub.url });
    expect(sha256(await found!.arrayBuffer())).toBe(sha256(big));
    const part = await found!.slice(1_111_111, 2_222_222).arrayBuffer();
    expect(sha256(part)).toBe(sha256(big.subarray(1_111_111, 2_222_222)));
    expect(hub.bytesServed({ repo: "acme/xet" })).toBe(0);
    const [entry] = await Array.fromAsync(listFiles({ repo: "acme/xet", hubUrl: hub.url }));
    expect(entry).toMatchObject({ path: "big.bin", xetHash: expect.stringMatching(/^[0-9a-f]{64}$/) });
    const url = `${hub.cdnUrl}/xet/v2/reconstructions/${entry!.xetHash}`;
    expect((await fetch(url)).status).toBe(401);
    const { accessToken } = (await (await get(`/api/models/acme/xet/xet-read-token/main`)).json()) as TokenAnswer;
    const beyond = { authorization: `Bearer ${accessToken}`, range: "bytes=3000001-4000000" };
    expect((await fetch(url, { headers: beyond })).status).toBe(416);
    expect((await get("/api/models/acme/tiny/xet-read-token/main")).status).toBe(404);
  });

  it("answers a range of an empty file with 200", async () => {
    const answer = await get("/acme/tiny/resolve/main/empty.txt", range("bytes=0-0"));
    expect([answer.status, answer.headers.get("content-range")]).toEqual([200, "bytes */0"]);
  });

  it("serves files from disk", async () => {
    const folder = mkdtempSync(join(tmpdir(), "hub-"));
    const path = join(folder, "big.bin");
    const bytes = randomBytes(3_000_001);
    writeFileSync(path, bytes);
    hub.addRepo({ id: "acme/disk", files: { "big.bin": { path } } });
    const answer = await get("/acme/disk/resolve/main/big.bin", { redirect: "follow" });
    expect(sha256(await answer.bytes())).toBe(sha256(bytes));
    expect(hub.bytesServed({ repo: "acme/disk" })).toBe(bytes.length);
    rmSync(folder, { recursive: true });
  });
});

describe("errors", () => {
  it.each([
    ["unknown repository, no token", "/acme/none/resolve/main/a", undefined, 401, "RepoNotFound"],
    ["unknown repository", "/acme/none/resolve/main/a", "hf_valid", 404, "RepoNotFound"],
    ["somebody's private repository", "/api/models/bob/own", "hf_other", 404, "RepoNotFound"],
    ["one's own private repository", "/api/models/bob/own", "hf_valid", 200, null],
    ["unknown revision", "/api/models/acme/tiny/tree/nope", undefined, 404, "RevisionNotFound"],
    ["unknown file", "/acme/tiny/resolve/main/nope", undefined, 404, "EntryNotFound"],
    ["gated, no token", "/acme/secret/resolve/main/config.json", undefined, 401, "GatedRepo"],
    ["gated, not on the list", "/acme/secret/resolve/main/config.json", "hf_other", 403, "GatedRepo"],
    ["gated, on the list", "/acme/secret/resolve/main/config.json", "hf_valid", 200, null],
    ["gated, but its tree is public", "/api/models/acme/secret/tree/main", undefined, 200, null],
    ["invalid token", "/api/models/acme/tiny", "hf_bad", 401, null],
    ["disabled", "/api/models/acme/off", undefined, 403, null],
    ["unknown page", "/api/agent-harnesses", undefined, 404, null],
  ])("%s", async (_case, path, token, status, code) => {
    const answer = await get(path, token ? as(token) : {});
    expect([answer.status, answer.headers.get("x-error-code")]).toEqual([status, code]);
    const body = (await answer.json()) as { error?: string };
    if (status >= 400) expect(body.error).toBe(answer.headers.get("x-error-message"));
    expect(answer.headers.get("x-request-id")).toBeTruthy();
  });

  it("uses the texts that clients compare with", async () => {
    const message = async (path: string, init?: RequestInit) => (await get(path, init)).headers.get("x-error-message");
    expect(await message("/api/models/acme/tiny", as("hf_bad"))).toBe("Invalid credentials in Authorization header");
    expect(await message("/api/models/acme/off")).toBe("Access to this resource is disabled.");
    expect(await message("/api/models/acme/tiny/revision/%C3%BC")).toBe("Invalid rev id: ?");
    expect((await get("/acme/tiny/resolve/main/nope")).headers.get("x-repo-commit")).toBe(commit);
  });
});
