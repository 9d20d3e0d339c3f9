import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, expect, it, onTestFinished } from "vitest";
import { configText, MANIFEST_TYPE, manifestText } from "../fakes/ollama-registry.ts";
import { seededBytes } from "../fakes/tiny-models.ts";
import { temporaryFolder } from "../store/temporary-folder.ts";
import { modelSpec } from "./sync-context.ts";
import { filesBelow, sync } from "./volume.ts";

/** Models from a registry that is none of ours: Debian's docker-registry, which keeps manifests as they are. */

const hasRegistry = spawnSync("docker-registry", ["--version"]).status === 0;
const MIB = 1 << 20;
const sha256 = (content: Uint8Array | string) => createHash("sha256").update(content).digest("hex");

/** Its address, on a folder of its own; behind `redirect` its blobs are had where that leads to. */
async function startRegistry(folder: string, redirect?: string): Promise<string> {
  const config = {
    version: 0.1,
    log: { level: "info" },
    storage: { filesystem: { rootdirectory: folder } },
    http: { addr: "127.0.0.1:0" },
    ...(redirect ? { middleware: { storage: [{ name: "redirect", options: { baseurl: redirect } }] } } : {}),
  };
  // JSON is YAML.
  writeFileSync(join(folder, "config.yml"), JSON.stringify(config));
  const child = spawn("docker-registry", ["serve", join(folder, "config.yml")], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  for await (const line of createInterface({ input: child.stderr })) {
    const address = /listening on (127\.0\.0\.1:\d+)/.exec(line)?.[1];
    if (!address) continue;
    child.stderr.resume();
    return `http://${address}`;
  }
  throw new Error("docker-registry ended");
}

/** As `ollama push` does it. Gives the manifest's text. */
async function push(registry: string, name: string, tag: string, layers: Record<string, Buffer>): Promise<string> {
  const upload = async (content: Buffer) => {
    const digest = `sha256:${sha256(content)}`;
    const begun = await fetch(`${registry}/v2/${name}/blobs/uploads/`, { method: "POST" });
    const url = new URL(begun.headers.get("location") ?? "", registry);
    url.searchParams.set("digest", digest);
    expect((await fetch(url, { method: "PUT", body: new Uint8Array(content) })).status).toBe(201);
    return { digest, size: content.length };
  };
  const blobs: Parameters<typeof manifestText>[1] = [];
  for (const [type, content] of Object.entries(layers)) blobs.push([type, await upload(content)]);
  const text = manifestText(await upload(Buffer.from(configText())), blobs);
  const put = await fetch(`${registry}/v2/${name}/manifests/${tag}`, {
    method: "PUT",
    headers: { "content-type": MANIFEST_TYPE },
    body: text,
  });
  expect([put.status, put.headers.get("docker-content-digest")]).toEqual([201, `sha256:${sha256(text)}`]);
  return text;
}

/** The registry's folder, with byte ranges. Gives its address and what was asked of it. */
async function serveFolder(folder: string): Promise<{ url: string; asked: string[] }> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const path = join(folder, new URL(request.url ?? "/", "http://x").pathname);
    asked.push(request.headers.range ?? "all");
    if (!existsSync(path)) return void response.writeHead(404).end();
    const { size } = statSync(path);
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
    const [start, end] = from ? [Number(from), Math.min(Number(to), size - 1)] : [0, size - 1];
    const range = from ? { "content-range": `bytes ${start}-${end}/${size}` } : {};
    response.writeHead(from ? 206 : 200, { "content-length": end - start + 1, ...range });
    createReadStream(path, { start, end }).pipe(response);
  }).listen(0, "localhost");
  await new Promise((resolve) => server.once("listening", resolve));
  onTestFinished(() => server.closeAllConnections());
  onTestFinished(() => void server.close());
  return { url: `http://localhost:${(server.address() as AddressInfo).port}/`, asked };
}

describe.skipIf(!hasRegistry)("docker-registry (apt-get install docker-registry)", () => {
  const layers = {
    model: seededBytes(20 * MIB + 7, 1),
    template: Buffer.from("{{ .Prompt }}"),
    license: Buffer.from("MIT"),
  };

  async function expectStored(registry: string, text: string): Promise<void> {
    const volume = temporaryFolder();
    const spec = modelSpec("tiny:8b", { source: "ollama", format: "gguf", engine: "ollama" });
    const run = () => sync({ endpoint: "http://127.0.0.1:9", registries: [registry], volume }, [spec]);
    expect((await run()).outcome.error).toBeNull();
    const store = join(volume, "ollama");
    const blobs = [...text.matchAll(/sha256:([0-9a-f]{64})/g)].map(([, hex]) => `blobs/sha256-${hex}`);
    const manifest = "manifests/registry.ollama.ai/library/tiny/8b";
    expect(filesBelow(store).filter((path) => !path.startsWith(".muster"))).toEqual([...blobs.toSorted(), manifest]);
    expect(readFileSync(join(store, manifest), "utf8")).toBe(text);
    for (const path of blobs) expect(`blobs/sha256-${sha256(readFileSync(join(store, path)))}`).toBe(path);
    rmSync(join(store, `blobs/sha256-${sha256(layers.template)}`));
    expect((await run()).outcome).toMatchObject({ error: null, fetchedBytes: layers.template.length });
  }

  it("sends blobs itself", async () => {
    const registry = await startRegistry(temporaryFolder());
    await expectStored(registry, await push(registry, "library/tiny", "8b", layers));
  });

  it("redirects to where they are, as the live registry does", async () => {
    const folder = temporaryFolder();
    const { url, asked } = await serveFolder(folder);
    const registry = await startRegistry(folder, url);
    await expectStored(registry, await push(registry, "library/tiny", "8b", layers));
    expect(asked.filter((range) => range !== "all").length).toBeGreaterThan(1);
  });
});
