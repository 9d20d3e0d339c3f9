import { rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { linkedFrom } from "../hub-removal.ts";
import type { Layout } from "../layout.ts";
import { listManifests } from "../manifest.ts";
import { blobsOfManifests } from "../ollama-removal.ts";
import { bytesAt, entriesOf, type Garbage, type Look, newest, withLeases } from "./garbage.ts";

/** Blobs that nothing names: no snapshot and no manifest, whoever made it, and no record. Killed fetches leave them. */

/** Of the hub cache's repositories. Of Python's own unfinished files nobody knows whether it goes on with them. */
export async function hubOrphans(look: Look): Promise<Garbage[]> {
  const { layout, held } = look;
  const repos = (await entriesOf(layout.hub.root)).filter((path) => basename(path).startsWith("models--"));
  const found = await Promise.all(
    repos.map(async (folder) => {
      // A name with "--" in it has this very folder too, and this very lease.
      const repo = basename(folder).slice("models--".length).replaceAll("--", "/");
      const lease = `huggingface:${repo}`;
      if (held.has(lease)) return null;
      return garbage(join(folder, "blobs"), {
        look,
        leases: [layout.lease(lease)],
        find: () => hubBlobs(layout, folder),
      });
    }),
  );
  return found.filter((each) => each !== null);
}

async function hubBlobs(layout: Layout, folder: string): Promise<string[]> {
  const { hub } = layout;
  const records = await listManifests(layout);
  const needed = new Set([
    ...(await linkedFrom(join(folder, "snapshots"))),
    ...records
      .filter(({ source, location }) => source === "huggingface" && hub.repo(location) === folder)
      .flatMap(({ location, files }) => files.map(({ digest }) => hub.blob(location, digest))),
  ]);
  const blobs = await entriesOf(join(folder, "blobs"));
  return blobs.filter((path) => /^[0-9a-f]+$/.test(basename(path)) && !needed.has(path));
}

/** Of Ollama's store, while nobody fetches anything into it: what is not named yet may be any model's. */
export async function ollamaOrphans(look: Look): Promise<Garbage[]> {
  const { layout, leases, heldKeys, records } = look;
  if (!heldKeys.isSubsetOf(new Set(records.map(({ key }) => key)))) return [];
  const folders = [...leases.ofSource("ollama").map((name) => layout.lease(name)), layout.ollama.lease];
  const find = () => ollamaBlobs(layout);
  const found = await garbage(layout.ollama.file("blobs"), { look, leases: folders, find });
  return found ? [found] : [];
}

async function ollamaBlobs(layout: Layout): Promise<string[]> {
  const { ollama } = layout;
  const named = await blobsOfManifests(ollama);
  // One that cannot be read may need any of them.
  if (named === null) return [];
  const records = await listManifests(layout);
  for (const { source, files } of records) if (source === "ollama") for (const { path } of files) named.add(path);
  const blobs = await entriesOf(ollama.file("blobs"));
  return blobs.filter((path) => /^sha256-[0-9a-f]{64}$/.test(basename(path)) && !named.has(`blobs/${basename(path)}`));
}

interface Search {
  look: Look;
  leases: readonly string[];
  find: () => Promise<string[]>;
}

async function garbage(path: string, { look: { now, ages }, leases, find }: Search): Promise<Garbage | null> {
  const findOld = async () => {
    const paths = await find();
    const old = await Promise.all(paths.map(async (each) => now - (await newest(each)) > ages.abandoned));
    return paths.filter((_, index) => old[index]);
  };
  const sizes = await Promise.all((await findOld()).map(bytesAt));
  if (sizes.length === 0) return null;
  const bytes = sizes.reduce((sum, each) => sum + each, 0);
  const remove = (signal: AbortSignal) =>
    withLeases(leases, signal, async (either) => {
      // Looked for again: under the leases nobody begins to need one.
      for (const each of await findOld()) {
        either.throwIfAborted();
        await rm(each, { force: true });
      }
    });
  return { kind: "orphans", path, bytes, remove };
}
